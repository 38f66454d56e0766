import Glibc
import Testing

@testable import DMAPool

/// Private anonymous pages, as a user's own memory is; unmapped when they die.
@safe
struct UserPages: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer

  /// Maps and touches pages; those in `holes` can't be read then. They stay reserved, since other
  /// tests map memory at the same time.
  init(_ count: Int, holes: [Int] = []) throws {
    let start = try unsafe #require(
      unsafe mmap(
        nil, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    unsafe bytes = UnsafeMutableRawBufferPointer(start: start, count: count * 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0x55)
    for hole in holes { unsafe mprotect(start + hole * 4096, 4096, PROT_NONE) }
  }

  deinit { unsafe munmap(bytes.baseAddress, bytes.count) }

  /// Leaves the pages mapped.
  consuming func leak() { discard self }

  var address: UInt { unsafe UInt(bitPattern: bytes.baseAddress) }

  func part(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[range])
  }
}

/// What the kernel says about this process's pages.
enum KernelView {
  /// The VmFlags of the mapping that holds `address`: "lo" is locked, "dc" kept out of children.
  static func flags(at address: UInt) throws -> Set<String> {
    let text = try ProcFile.contents(of: "/proc/self/smaps")
    var isInside = false
    for line in text.split(separator: UInt8(ascii: "\n")) {
      let words = String(decoding: line, as: UTF8.self).split(separator: " ").map(String.init)
      let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if bounds.count == 2 { isInside = bounds[0] <= address && address < bounds[1] }
      if isInside, words[0] == "VmFlags:" { return Set(words.dropFirst()) }
    }
    return []
  }

  /// Whether mlock locks here: the sanitizers make it do nothing.
  static let locks: Bool = {
    let pages = try? UserPages(1)
    guard let pages, unsafe mlock(pages.bytes.baseAddress, 4096) == 0,
      (try? flags(at: pages.address).contains("lo")) == true
    else {
      print("skipped: mlock locks nothing in this process")
      return false
    }
    return true
  }()

  /// Page frame numbers, 0 where the kernel hides them.
  static func frames(_ start: UInt, pages: Int) throws -> [UInt64] {
    try PageMap.words(of: start..<start + UInt(pages * 4096)).map { $0 & (1 << 55 - 1) }
  }

  /// Whether frames can be seen here: root only.
  static let showsFrames: Bool = {
    var word: UInt64 = 1
    let seen = unsafe withUnsafeMutablePointer(to: &word) { pointer in
      (try? frames(UInt(bitPattern: pointer) & ~4095, pages: 1))?.first ?? 0
    }
    if seen == 0 { print("skipped: page frame numbers are for root only") }
    return seen != 0
  }()
}

/// A child process made by fork(2) alone. Between fork and exit it may only make system calls.
enum Child {
  /// Runs `body` in a child and answers its exit code, or nil if it died of a signal.
  static func run(_ body: () -> CInt) throws -> CInt? {
    let child = fork()
    if child == 0 { _exit(body()) }
    try #require(child > 0)
    return try wait(child)
  }

  /// Runs `body` here while a child, which does nothing, shares our pages.
  static func whileForked<R>(_ body: () throws -> R) throws -> R {
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    let child = fork()
    if child == 0 {
      close(ends[1])
      var byte: UInt8 = 0
      _ = unsafe read(ends[0], &byte, 1)
      _exit(0)
    }
    close(ends[0])
    try #require(child > 0)
    let result = Result { try body() }
    close(ends[1])
    _ = try wait(child)
    return try result.get()
  }

  private static func wait(_ child: pid_t) throws -> CInt? {
    var status: CInt = 0
    while unsafe waitpid(child, &status, 0) == -1 { try #require(errno == EINTR) }
    return status & 0x7F == 0 ? status >> 8 & 0xFF : nil
  }

  /// Whether the kernel can read a byte at `address` for this process; a system call only.
  static func canRead(_ address: UnsafeRawPointer, through pipe: CInt) -> Bool {
    unsafe write(pipe, address, 1) == 1
  }
}
