import Glibc
import Synchronization
import Testing

@testable import DMAPool

/// Huge pages, NUMA nodes, limits, and system calls that fail.
@Suite(.serialized) struct SystemTests {
  // MARK: NUMA

  @Test("no node, -1 and node 0 are all right; the kernel reports where the memory is")
  func nodes() throws {
    for node in [nil, -1, 0] {
      let arena = try DMAArena(byteCount: 65536, node: node, pages: .small)
      let hasNUMA = arena.kernelNode != nil
      #expect(arena.node == (node == 0 && hasNUMA ? 0 : nil))
      if arena.node == 0 { #expect(arena.kernelNode == 0) }
    }
  }

  @Test("a node that does not exist is an error", arguments: [-2, 1 << 9, 1 << 20, Int.max])
  func noSuchNode(node: Int) {
    let error = #expect(throws: DMAError.self) {
      try DMAArena(byteCount: 4096, node: node, pages: .small)
    }
    #expect(error?.code == .invalidArgument)
    #expect(error?.cause.contains("\(node)") == true)
  }

  // MARK: Limits

  @Test(
    "where RLIMIT_MEMLOCK forbids the lock, an arena goes on unlocked",
    .enabled(if: KernelView.locks))
  func unlocked() async {
    await #expect(processExitsWith: .success) {
      var none = rlimit(rlim_cur: 0, rlim_max: 0)
      guard unsafe setrlimit(__rlimit_resource_t(8), &none) == 0 else { exit(3) }
      guard getuid() != 0 || setuid(65534) == 0 else { exit(4) }
      let (arena, device) = try ArenaTests.attached(65536)
      #expect(!arena.isLocked)
      #expect(arena.isAttached(to: device))
      #expect(try arena.allocate(byteCount: 64).filling == 0)
    }
  }

  // MARK: Failing system calls

  /// Counts what an arena would leak.
  static func leakable() throws -> [Int] {
    let map = try ProcFile.contents(of: "/proc/self/maps")
    let arenas = map.split(separator: UInt8(ascii: "\n")).count { line in
      String(decoding: line, as: UTF8.self).contains("vblk-dma")
    }
    return [arenas, (0..<256).count(where: isOurs)]
  }

  /// Whether `file` is open and of a kind that DMAPool opens. (The test process has others, which
  /// come and go.)
  private static func isOurs(_ file: Int) -> Bool {
    var name = [CChar](repeating: 0, count: 256)
    let count = unsafe readlink("/proc/self/fd/\(file)", &name, 255)
    guard count > 0 else { return false }
    let path = String(decoding: name[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    return path.contains("vblk-dma") || path.hasPrefix("/proc/")
  }

  @Test("an arena whose n-th call of any kind fails is a typed error, and leaks nothing")
  func failingCalls() async {
    await #expect(processExitsWith: .success) {
      // libnuma keeps what its first use opens.
      _ = try DMAArena(byteCount: 4096, node: 0, pages: .small)
      let before = try SystemTests.leakable()
      for call in HostCall.allCases where call != .close && call != .munmap {
        var reached = 0
        while true {
          let failure = InjectedFailure(call, after: reached, code: ENOMEM)
          InjectedFailure.$current.withValue(failure) {
            do throws(DMAError) {
              _ = try DMAArena(byteCount: 65536, node: 0, pages: .small)
            } catch {
              #expect(error.code == .noMemory)
              #expect(error.cause.contains("\(call.rawValue): ENOMEM"))
            }
          }
          let after = try SystemTests.leakable()
          #expect(after == before, "\(call) \(reached): \(after) after \(before)")
          guard failure.hasFired else { break }
          reached += 1
        }
        let isUsed = ![.munlock, .pread].contains(call)
        #expect((reached > 0) == isUsed, "\(call)")
      }
    }
  }

  @Test("a registration whose n-th call of any kind fails is a typed error, and locks nothing")
  func failingRegistration() async {
    await #expect(processExitsWith: .success) {
      let pages = try UserPages(4, holes: [1])
      for call in [HostCall.open, .read, .madvise, .mlock] {
        var reached = 0
        while true {
          let failure = InjectedFailure(call, after: reached, code: EAGAIN)
          // Unregistered outside: there a call that fails is not looked at.
          let memory = InjectedFailure.$current.withValue(failure) { () -> RegisteredMemory? in
            do throws(DMAError) {
              return try unsafe RegisteredMemory(pages.bytes, holes: .allow)
            } catch {
              #expect(error.code == (call == .madvise ? .lockRefused : .noMemory))
              #expect(error.cause.contains("\(call.rawValue): EAGAIN"))
              return nil
            }
          }
          if let memory { #expect(memory.isLocked == !failure.hasFired) }
          try memory?.unregister()
          #expect(try !KernelView.flags(at: pages.address).contains("dc"))
          #expect(try !KernelView.flags(at: pages.address + 8192).contains("dc"))
          guard failure.hasFired else { break }
          reached += 1
        }
        #expect(reached > 0, "\(call)")
      }
    }
  }

  @Test("an interrupted call is tried again only where it may be, and not for ever")
  func interrupted() throws {
    var calls = 0
    let result = try HostCall.ftruncate.perform(retrying: true) {
      calls += 1
      errno = EINTR
      return calls < 5 ? -1 : 42
    }
    #expect(result == 42 && calls == 5)
    for retrying in [false, true] {
      calls = 0
      let error = #expect(throws: SystemError.self) {
        _ = try HostCall.close.perform(retrying: retrying) {
          calls += 1
          errno = EINTR
          return -1
        }
      }
      #expect(error == SystemError(call: .close, code: EINTR))
      #expect(calls == (retrying ? Limits.interruptedTries : 1))
    }
  }

  @Test("an errno without a name is a number")
  func errnoNames() {
    #expect(SystemError(call: .memfdCreate, code: EMFILE).description == "memfd_create: EMFILE")
    #expect(SystemError(call: .mmap, code: 4711).description == "mmap: errno 4711")
  }
}
