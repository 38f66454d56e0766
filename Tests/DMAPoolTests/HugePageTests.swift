import Glibc
import Testing

@testable import DMAPool

/// The machine's pool of 2 MiB pages.
enum HugePages {
  static let path = "/proc/sys/vm/nr_hugepages"

  static var count: Int { (try? ProcFile.contents(of: path))?.decimalNumber ?? 0 }

  /// Sets the size of the pool; whether the kernel took it.
  static func set(_ count: Int) -> Bool {
    let file = unsafe open(path, O_WRONLY)
    guard file >= 0 else { return false }
    defer { close(file) }
    let text = Array("\(count)\n".utf8)
    return unsafe write(file, text, text.count) == text.count && self.count == count
  }

  /// Whether `pages` huge pages can be had here, for a while.
  static let canBeHad: Bool = {
    let before = count
    defer { _ = set(before) }
    if set(before + pages) { return true }
    print("skipped: no huge pages can be had (sysctl vm.nr_hugepages, root)")
    return false
  }()

  /// What these tests use at most, and some for others that run at the same time.
  static let pages = 32
}

@Suite(.serialized, .enabled(if: HugePages.canBeHad)) struct HugePageTests {
  /// Runs `body` with free huge pages.
  private func withHugePages(_ body: () throws -> Void) throws {
    let before = HugePages.count
    try #require(HugePages.set(before + HugePages.pages))
    defer { #expect(HugePages.set(before)) }
    try body()
  }

  @Test(
    "where there are huge pages an arena takes them",
    arguments: [PageChoice.huge, .hugeIfAvailable])
  func present(choice: PageChoice) throws {
    try withHugePages {
      let arena = try DMAArena(byteCount: 3 << 20, node: 0, pages: choice)
      #expect(arena.pageByteCount == 2 << 20)
      #expect(arena.byteCount == 4 << 20)
      #expect(arena.isLocked)
      #expect(arena.kernelNode ?? 0 == 0)
      try arena.attach(to: MockMapper())
      #expect(try arena.allocate(byteCount: 4 << 20).filling == 0)
    }
  }

  @Test("4 KiB pages are taken when they are asked for")
  func small() throws {
    try withHugePages {
      let arena = try DMAArena(byteCount: 2 << 20, pages: .small)
      #expect(arena.pageByteCount == 4096)
    }
  }

  @Test("a device without IOMMU gets the physical addresses of huge pages")
  func physical() throws {
    try withHugePages {
      let arena = try DMAArena(byteCount: 8 << 20, pages: .huge)
      let device = MockMapper("bare", addressing: .physical)
      let translated = MockMapper("translated")
      try arena.attach(to: device)
      try arena.attach(to: translated)
      #expect(translated.mappings == device.mappings)
      let buffer = try arena.allocate(byteCount: 8 << 20)
      let base = unsafe UInt(bitPattern: buffer.block.base)
      let frames = try KernelView.frames(base, pages: buffer.capacity / 4096)
      for (page, frame) in frames.enumerated() {
        let run = buffer.block.run(at: page * 4096 + 8, limit: 1)
        #expect(run.byteCount == 1)
        #expect(run.deviceAddress == frame * 4096 + 8)
      }
    }
  }

  @Test("a ring in one run fits in one huge page and never over two")
  func oneRun() throws {
    try withHugePages {
      let arena = try DMAArena(byteCount: 4 << 20, pages: .huge)
      try arena.attach(to: MockMapper("bare", addressing: .physical))
      let first = try arena.allocate(byteCount: 1 << 20)
      let second = try arena.allocate(byteCount: 3 << 19, oneRun: true)
      #expect(second.block.arenaOffset == 2 << 20)
      #expect(second.block.plainArena == arena.number)
      #expect(first.block.plainArena == arena.number)
    }
  }

  @Test("a user's part of a huge page is registered, locked and attached without IOMMU")
  func registered() throws {
    try withHugePages {
      let start = unsafe mmap(
        nil, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0)
      try #require(Int(bitPattern: start) != -1)
      let page = unsafe UnsafeMutableRawBufferPointer(start: start, count: 2 << 20)
      defer { unsafe munmap(start, 2 << 20) }
      for index in stride(from: 0, to: page.count, by: 4096) { unsafe page[index] = 1 }
      let memory = try unsafe RegisteredMemory(.init(rebasing: page[5000..<100_000]))
      #expect(try KernelView.flags(at: UInt(bitPattern: start)).contains("dc"))
      let device = MockMapper("bare", addressing: .physical)
      try memory.attach(to: device)
      let slice = try memory.slice(0..<95_000)
      #expect(slice.block.plainArena == memory.number)
      let frames = try KernelView.frames(UInt(bitPattern: start), pages: 2)
      #expect(slice.block.deviceAddress == frames[1] * 4096 + 904)
    }
  }

  @Test("without root the physical addresses are refused, with the remedy")
  func hidden() async {
    await #expect(processExitsWith: .success) {
      let before = HugePages.count
      guard HugePages.set(before + HugePages.pages) else { exit(3) }
      defer { _ = HugePages.set(before) }
      let arena = try DMAArena(byteCount: 2 << 20, pages: .huge)
      let device = MockMapper("bare", addressing: .physical)
      for call in [HostCall.open, .read, .pread] {
        InjectedFailure.$current.withValue(InjectedFailure(call, after: 0, code: EACCES)) {
          let error = #expect(throws: DMAError.self) { try arena.attach(to: device) }
          #expect(error?.code == .notPinnable)
          #expect(error?.remedy.hasPrefix("run as root") == true)
        }
      }
      #expect(device.mapCalls == 0)
      try arena.attach(to: device)
    }
  }
}

@Suite struct NoHugePageTests {
  /// More than any machine has, and than 4 KiB pages could replace.
  @Test("huge pages that are not there are an error with the sysctl that makes them")
  func absent() {
    let error = #expect(throws: DMAError.self) {
      try DMAArena(byteCount: Limits.maximumByteCount, pages: .huge)
    }
    #expect(error?.code == .noMemory)
    #expect(error?.remedy.contains("sysctl vm.nr_hugepages=") == true)
  }

  @Test("where no huge page is to be had, 4 KiB pages take their place")
  func fallback() throws {
    let failure = InjectedFailure(.memfdCreate, after: 0, code: ENOMEM)
    try InjectedFailure.$current.withValue(failure) {
      let arena = try DMAArena(byteCount: 65536)
      #expect(arena.pageByteCount == 4096)
      #expect(failure.hasFired)
    }
  }
}
