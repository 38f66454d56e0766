import Glibc
import Testing

@testable import DMAPool

@Suite struct ArenaTests {
  /// An arena of 4 KiB pages, attached to a device.
  static func attached(
    _ byteCount: Int = 1 << 20, layout: RunLayout = .contiguous
  ) throws -> (DMAArena, MockMapper) {
    let arena = try DMAArena(byteCount: byteCount, pages: .small, layout: layout)
    let device = MockMapper()
    try arena.attach(to: device)
    return (arena, device)
  }

  @Test("a buffer is found by the device where the record says")
  func translation() throws {
    let (arena, device) = try Self.attached()
    var buffer = try arena.allocate(byteCount: 5000)
    #expect(buffer.byteCount == 5000)
    #expect(buffer.capacity == 5056)
    let block = buffer.block
    #expect(block.plainArena == arena.number)
    #expect(block.arena == arena.number)
    let base = unsafe UInt(bitPattern: block.base)
    #expect(base % 4096 == 0)
    #expect(device.translate(block.deviceAddress) == base)
    buffer.fill(with: 7)
    #expect(buffer.filling == 7)
  }

  @Test("an arena's numbers rise and are never 0")
  func numbers() throws {
    let first = try DMAArena(byteCount: 1, pages: .small)
    let second = try DMAArena(byteCount: 1, pages: .small)
    #expect(first.number > 0)
    #expect(second.number > first.number)
  }

  @Test("a size is rounded up to whole pages")
  func rounding() throws {
    let arena = try DMAArena(byteCount: 4097, pages: .small)
    #expect(arena.byteCount == 8192)
    #expect(arena.pageByteCount == 4096)
    #expect(arena.freeByteCount == 8192)
    let node = arena.kernelNode.map { "NUMA node \($0)" } ?? "no NUMA node"
    #expect(
      arena.description
        == "arena \(arena.number): 8192 bytes in pages of 4096, \(node), "
        + (arena.isLocked ? "locked" : "not locked"))
  }

  @Test("an arena that can't be is an error", arguments: [0, -1, Limits.maximumByteCount + 1])
  func impossibleSize(byteCount: Int) {
    let error = #expect(throws: DMAError.self) { try DMAArena(byteCount: byteCount) }
    #expect(error?.code == .invalidArgument)
  }

  @Test("more memory than the machine has is an error and not the out-of-memory killer")
  func tooLarge() {
    let error = #expect(throws: DMAError.self) {
      try DMAArena(byteCount: Limits.maximumByteCount, pages: .small)
    }
    #expect(error?.code == .noMemory)
  }

  @Test("runs that can't be are an error", arguments: [0, 2048, 4097, 12288, -4096])
  func impossibleRuns(runByteCount: Int) {
    let error = #expect(throws: DMAError.self) {
      try DMAArena(byteCount: 65536, layout: .scattered(runByteCount: runByteCount, seed: 1))
    }
    #expect(error?.code == .invalidArgument)
  }

  @Test("a buffer that can't be is an error, and nothing is taken")
  func impossibleBuffer() throws {
    let (arena, _) = try Self.attached()
    for (byteCount, alignment) in [(0, 64), (-1, 64), (64, 0), (64, 3), (64, 4 << 20), (.max, 64)] {
      let error = #expect(throws: DMAError.self) {
        _ = try arena.allocate(byteCount: byteCount, alignment: alignment)
      }
      #expect(error?.code == .invalidArgument)
    }
    #expect(arena.freeByteCount == arena.byteCount)
    #expect(arena.buffersOut == 0)
  }

  @Test("before the first attach there is nothing to allocate")
  func beforeAttach() throws {
    let arena = try DMAArena(byteCount: 4096, pages: .small)
    let error = #expect(throws: DMAError.self) { _ = try arena.allocate(byteCount: 64) }
    #expect(error?.code == .notAttached)
    #expect(arena.freeByteCount == 4096)
  }

  @Test("exhaustion names the sizes and changes nothing; a freed buffer ends it")
  func exhaustion() throws {
    let (arena, _) = try Self.attached(8192)
    let first = try arena.allocate(byteCount: 4096)
    do {
      let second = try arena.allocate(byteCount: 2048)
      let error = #expect(throws: DMAError.self) { _ = try arena.allocate(byteCount: 4096) }
      #expect(error?.code == .exhausted)
      #expect(error?.cause.contains("2048 of 8192 free, 2048 in one piece") == true)
      #expect(arena.freeByteCount == 2048)
      #expect(arena.buffersOut == 2)
      #expect(second.byteCount == 2048)
    }
    let third = try arena.allocate(byteCount: 4096)
    #expect(arena.freeByteCount == 0)
    #expect(first.byteCount == third.byteCount)
  }

  @Test("addresses have the alignment asked for", arguments: [1, 64, 4096, 65536, 2 << 20])
  func alignment(alignment: Int) throws {
    let (arena, _) = try Self.attached(6 << 20)
    let unaligned = try arena.allocate(byteCount: 64, alignment: 1)
    let buffer = try arena.allocate(byteCount: 64, alignment: alignment)
    let block = buffer.block
    #expect(unsafe UInt(bitPattern: block.base) % UInt(alignment) == 0)
    #expect(block.deviceAddress % UInt64(alignment) == 0)
    #expect(unaligned.capacity == 64)
  }

  @Test("a zeroed buffer holds nothing of its last user")
  func zeroed() throws {
    let (arena, _) = try Self.attached(4096)
    for zeroed in [false, true] {
      do {
        var dirty = try arena.allocate(byteCount: 4096, zeroed: false)
        dirty.fill(with: 0xA5)
      }
      // 4000 bytes asked for: the rest of the capacity is cleared too.
      var buffer = try arena.allocate(byteCount: 4000, zeroed: zeroed)
      buffer.byteCount = buffer.capacity
      #expect(buffer.filling == (zeroed ? 0 : 0xA5))
    }
  }

  @Test("a buffer keeps its arena alive, and its arena mapped")
  func lifetime() throws {
    let device = MockMapper()
    weak var seen: DMAArena?
    do {
      let buffer: DMABuffer
      do {
        let arena = try DMAArena(byteCount: 4096, pages: .small)
        seen = arena
        try arena.attach(to: device)
        buffer = try arena.allocate(byteCount: 4096)
      }
      #expect(seen != nil)
      #expect(device.mappings.count == 1)
      #expect(buffer.filling == 0)
    }
    #expect(seen == nil)
    #expect(device.mappings.isEmpty)
  }

  @Test("a closed arena answers .closed to everything")
  func useAfterClose() throws {
    let (arena, device) = try Self.attached()
    #expect(arena.fileDescriptor >= 0)
    try arena.close()
    #expect(device.mappings.isEmpty)
    #expect(arena.fileDescriptor == -1)
    #expect(arena.freeByteCount == 0)
    #expect(!arena.isAttached(to: device))
    let uses: [() throws -> Void] = [
      { _ = try arena.allocate(byteCount: 64) }, { try arena.attach(to: device) },
      { try arena.detach(from: device) }, { try arena.close() },
    ]
    for use in uses {
      let error = #expect(throws: DMAError.self) { try use() }
      #expect(error?.code == .closed)
    }
  }

  @Test("an arena with buffers out is not closed, and goes on as before")
  func closeInUse() throws {
    let (arena, device) = try Self.attached()
    do {
      let buffer = try arena.allocate(byteCount: 64)
      let error = #expect(throws: DMAError.self) { try arena.close() }
      #expect(error?.code == .inUse)
      #expect(arena.isAttached(to: device))
      #expect(device.mappings.count == 1)
      #expect(try arena.allocate(byteCount: 64).capacity == buffer.capacity)
    }
    try arena.close()
  }

  @Test("the memory file holds what the buffer holds")
  func memoryFile() throws {
    let (arena, _) = try Self.attached()
    var buffer = try arena.allocate(byteCount: 4096)
    buffer.fill(with: 0xFE)
    var word: UInt64 = 0
    let offset = Int(buffer.block.arenaOffset)
    #expect(unsafe pread(arena.fileDescriptor, &word, 8, offset) == 8)
    #expect(word == 0xFEFE_FEFE_FEFE_FEFE)
  }

  @Test("buffers allocated and freed on two threads come back whole")
  func threads() async throws {
    let (arena, _) = try Self.attached(1 << 18)
    let clashes = try await withThrowingTaskGroup(of: Int.self) { group in
      for worker in 1...2 as ClosedRange<UInt8> {
        group.addTask {
          var clashes = 0
          for round in 0..<2000 {
            var buffer = try arena.allocate(byteCount: 64 + round % 1000, zeroed: false)
            buffer.fill(with: worker)
            if buffer.filling != worker { clashes += 1 }
          }
          return clashes
        }
      }
      return try await group.reduce(0, +)
    }
    #expect(clashes == 0)
    #expect(arena.freeByteCount == arena.byteCount)
    #expect(arena.buffersOut == 0)
  }

  @Test("a buffer released twice traps")
  func doubleRelease() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      let block = unsafe try arena.allocate(byteCount: 64).intoBlock()
      unsafe arena.release(block)
      unsafe arena.release(block)
    }
    expectMessage(result, "released twice")
  }

  @Test("a buffer released to another arena traps")
  func foreignRelease() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      let (other, _) = try ArenaTests.attached()
      unsafe other.release(try arena.allocate(byteCount: 64).intoBlock())
    }
    expectMessage(result, "to memory that it is not from")
  }

  @Test("a length beyond the capacity traps")
  func tooLong() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      var buffer = try arena.allocate(byteCount: 64)
      buffer.byteCount = 65
    }
    expectMessage(result, "a DMA buffer of 64 bytes can't hold 65")
  }

  @Test("an owner that takes nothing back traps")
  func ownerless() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      unsafe DMABlockOwner().release(try arena.allocate(byteCount: 64).intoBlock())
    }
    expectMessage(result, "must override release")
  }

  @Test("when the numbers of arenas are used up, the next one traps")
  func numbersUsedUp() async {
    #expect(DMAArena.number(after: 0) == 1)
    #expect(DMAArena.number(after: .max - 1) == .max)
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      _ = DMAArena.number(after: .max)
    }
    expectMessage(result, "numbers are used up")
  }
}
