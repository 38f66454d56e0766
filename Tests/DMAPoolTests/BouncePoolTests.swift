import DMAPool
import Testing

@Suite struct BouncePoolTests {
  @Test("blocks are taken lowest first, come from one arena, and run out")
  func take() throws {
    let (arena, device) = try ArenaTests.attached()
    var pool = try BouncePool(count: 4, blockByteCount: 1536, from: arena)
    #expect(pool.count == 4)
    #expect(pool.blockByteCount == 1536)
    #expect(arena.buffersOut == 1)
    var taken: [UInt] = []
    while let block = unsafe pool.take() {
      let record = unsafe block.pointee
      let base = unsafe UInt(bitPattern: record.base)
      taken.append(base)
      #expect(pool.freeCount == 4 - taken.count)
      #expect(record.byteCount == 1536 && record.capacity == 1536)
      #expect(record.arena == arena.number && record.plainArena == arena.number)
      #expect(device.translate(record.deviceAddress) == base)
    }
    #expect(taken == (0..<4).map { taken[0] + UInt($0 * 1536) })
    #expect(unsafe pool.take() == nil)
  }

  @Test("a block that was given is the next one taken, in full length")
  func give() throws {
    let (arena, _) = try ArenaTests.attached()
    var pool = try BouncePool(count: 3, blockByteCount: 4096, from: arena)
    let first = try unsafe #require(unsafe pool.take())
    let second = try unsafe #require(unsafe pool.take())
    unsafe first.pointee.byteCount = 5
    unsafe pool.give(first)
    #expect(pool.freeCount == 2)
    let again = try unsafe #require(unsafe pool.take())
    #expect(unsafe again == first)
    #expect(unsafe again.pointee.byteCount == 4096)
    unsafe pool.give(second)
    unsafe pool.give(again)
    #expect(pool.freeCount == 3)
  }

  @Test("any order of taking and giving keeps the blocks apart")
  func model() throws {
    let seed = TestSeed.ofThisRun
    var random = seed.generator
    let (arena, _) = try ArenaTests.attached()
    var pool = try BouncePool(count: 16, blockByteCount: 512, from: arena)
    var out: Set<UnsafeMutablePointer<DMABlock>> = unsafe []
    for _ in 0..<5000 {
      if Bool.random(using: &random) {
        let block = unsafe pool.take()
        #expect(unsafe (block == nil) == (out.count == 16), seed.replay)
        if let block = unsafe block { #expect(unsafe out.insert(block).inserted, seed.replay) }
      } else if let block = unsafe out.randomElement(using: &random) {
        unsafe out.remove(block)
        unsafe pool.give(block)
      }
      #expect(unsafe pool.freeCount == 16 - out.count, seed.replay)
    }
    while let block = unsafe out.popFirst() { unsafe pool.give(block) }
  }

  @Test("a pool that dies gives its memory back")
  func death() throws {
    let (arena, _) = try ArenaTests.attached()
    do {
      var pool = try BouncePool(count: 8, blockByteCount: 4096, from: arena)
      #expect(arena.freeByteCount == arena.byteCount - 8 * 4096)
      if let block = unsafe pool.take() { unsafe pool.give(block) }
    }
    #expect(arena.freeByteCount == arena.byteCount)
    try arena.close()
  }

  @Test("a pool that dies with a block out leaves all its memory in use")
  func deathInUse() throws {
    let (arena, device) = try ArenaTests.attached()
    let block: UnsafeMutablePointer<DMABlock>
    do {
      var pool = try BouncePool(count: 8, blockByteCount: 4096, from: arena)
      unsafe block = try #require(unsafe pool.take())
    }
    #expect(arena.freeByteCount == arena.byteCount - 8 * 4096)
    #expect(throws: DMAError.self) { try arena.close() }
    #expect(unsafe device.translate(block.pointee.deviceAddress) != nil)
  }

  @Test("blocks over scattered runs are not plain")
  func scattered() throws {
    let (arena, device) = try ArenaTests.attached(
      65536, layout: .scattered(runByteCount: 4096, seed: 2))
    var pool = try BouncePool(count: 4, blockByteCount: 6144, from: arena)
    while let block = unsafe pool.take() {
      let record = unsafe block.pointee
      #expect(record.plainArena == 0)
      var offset = 0
      while offset < record.capacity {
        let run = record.run(at: offset, limit: record.capacity - offset)
        let base = unsafe UInt(bitPattern: record.base)
        #expect(device.translate(run.deviceAddress) == base + UInt(offset))
        #expect(run.byteCount > 0)
        offset += max(run.byteCount, 1)
      }
    }
  }

  @Test(
    "a pool that can't be is an error, and takes nothing",
    arguments: [(0, 512), (-1, 512), (1, 0), (1, 100), (1, -512), (Int.max, 512), (1000, 4096)])
  func impossible(count: Int, blockByteCount: Int) throws {
    let (arena, _) = try ArenaTests.attached()
    let error = #expect(throws: DMAError.self) {
      _ = try BouncePool(count: count, blockByteCount: blockByteCount, from: arena)
    }
    #expect(error?.code == (count == 1000 ? .exhausted : .invalidArgument))
    #expect(arena.freeByteCount == arena.byteCount)
  }

  @Test("a block given twice traps")
  func doubleGive() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      var pool = try BouncePool(count: 2, blockByteCount: 512, from: arena)
      guard let block = unsafe pool.take() else { return }
      unsafe pool.give(block)
      unsafe pool.give(block)
    }
    expectMessage(result, "bounce block 0 is given back twice")
  }

  @Test("a block of another pool traps")
  func foreignGive() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      var pool = try BouncePool(count: 2, blockByteCount: 512, from: arena)
      var other = try BouncePool(count: 2, blockByteCount: 512, from: arena)
      guard let block = unsafe other.take() else { return }
      unsafe pool.give(block)
    }
    expectMessage(result, "given to a bounce pool that it is not from")
  }

  @Test("a bounce block that dies as a DMABuffer traps")
  func asBuffer() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      let (arena, _) = try ArenaTests.attached()
      var pool = try BouncePool(count: 2, blockByteCount: 512, from: arena)
      guard let block = unsafe pool.take() else { return }
      _ = unsafe DMABuffer(block: block)
    }
    expectMessage(result, "goes back by BouncePool.give(_:)")
  }
}
