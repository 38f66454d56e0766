import Testing

@testable import DMAPool

@Suite struct ScatteredTests {
  static func arena(runs: Int, run: Int = 4096, seed: UInt64 = 11) throws -> (DMAArena, MockMapper)
  {
    try ArenaTests.attached(runs * run, layout: .scattered(runByteCount: run, seed: seed))
  }

  @Test("runs are mapped one by one, no two adjacent, not in order", arguments: [4096, 65536])
  func shape(run: Int) throws {
    let (arena, device) = try Self.arena(runs: 16, run: run)
    let byMemory = device.mappings.sorted { $0.memory < $1.memory }
    #expect(byMemory.count == 16)
    #expect(byMemory.map(\.byteCount).allSatisfy { $0 == run })
    for (low, high) in zip(device.mappings, device.mappings.dropFirst()) {
      #expect(low.deviceAddress + UInt64(run) < high.deviceAddress)
    }
    #expect(byMemory.map(\.deviceAddress) != device.mappings.map(\.deviceAddress))
    #expect(arena.byteCount == 16 * run)
  }

  @Test("the same seed gives the same order, another one another")
  func seeds() throws {
    func order(_ seed: UInt64) throws -> [Int] {
      let (arena, device) = try Self.arena(runs: 12, seed: seed)
      let start = device.mappings.map(\.memory).min() ?? 0
      #expect(arena.isAttached(to: device))
      return device.mappings.map { Int($0.memory - start) / 4096 }
    }
    let first = try order(5)
    #expect(try order(5) == first)
    #expect(try order(6) != first)
  }

  @Test("run(at:limit:) finds what the device finds, for all offsets and limits")
  func exhaustive() throws {
    let pages = 8
    for run in [4096, 8192, 16384] {
      let (arena, device) = try Self.arena(runs: pages * 4096 / run, run: run)
      let padding = try arena.allocate(byteCount: 4096)
      let buffer = try arena.allocate(byteCount: (pages - 1) * 4096)
      let block = buffer.block
      #expect(block.plainArena == 0)
      #expect(padding.byteCount == 4096)
      for offset in Self.interesting(pages - 1) where offset < block.capacity {
        for limit in Self.interesting(pages - 1) where offset + limit <= block.capacity {
          let found = block.run(at: offset, limit: limit)
          let base = unsafe UInt(bitPattern: block.base)
          // Non-adjacent runs: it ends at the run's end or at the limit.
          let left = run - (Int(block.arenaOffset) + offset) % run
          #expect(found.byteCount == min(limit, left), "run \(run) at \(offset) limit \(limit)")
          #expect(device.translate(found.deviceAddress) == base + UInt(offset))
        }
      }
    }
  }

  /// Offsets around each page boundary.
  private static func interesting(_ pages: Int) -> [Int] {
    (0...pages).flatMap { page in [-1, 0, 1, 511].map { page * 4096 + $0 } }.filter { $0 >= 0 }
  }

  @Test("adjacent runs in a table are one, holes and the end are none")
  func adjacency() {
    let hole = DMABlock.hole
    let runs: [UInt64] = [0x10000, 0x11000, hole, 0x20000, 0x21000, 0x22000, 0x8000, hole]
    let stretchEnds = [2, 2, 0, 6, 6, 6, 7, 0]
    let placement = DMAPlacement(runs, runShift: 12, byteCount: 8 * 4096, window: nil)
    let block = unsafe DMABlock(
      base: UnsafeMutableRawPointer(bitPattern: 1 << 30)!, deviceAddress: 0, byteCount: 0,
      plainArena: 0, arena: 1, capacity: 8 * 4096, runs: placement.addresses, runShift: 12,
      arenaOffset: 0, owner: .passUnretained(DMABlockOwner()))
    for page in 0..<8 {
      for limit in 0...8 {
        for skew in [0, 1, 4095] {
          let found = block.run(at: page * 4096 + skew, limit: limit * 4096)
          let expected =
            runs[page] == hole ? 0 : min(limit * 4096, (stretchEnds[page] - page) * 4096 - skew)
          #expect(found.byteCount == expected)
          #expect(found.deviceAddress == (runs[page] == hole ? 0 : runs[page] + UInt64(skew)))
        }
      }
    }
    #expect(
      placement.stretches == [
        .init(offset: 0, byteCount: 8192, deviceAddress: 0x10000),
        .init(offset: 3 * 4096, byteCount: 3 * 4096, deviceAddress: 0x20000),
        .init(offset: 6 * 4096, byteCount: 4096, deviceAddress: 0x8000),
      ])
  }

  @Test("a block inside one run is plain; one over two is not")
  func plain() throws {
    let (arena, device) = try Self.arena(runs: 4)
    let small = try arena.allocate(byteCount: 2048)
    let crossing = try arena.allocate(byteCount: 4096, alignment: 64)
    #expect(small.block.plainArena == arena.number)
    #expect(crossing.block.plainArena == 0)
    #expect(device.mappings.count == 4)
  }

  @Test("a buffer asked for in one run is in one run, or refused")
  func oneRun() throws {
    let (arena, _) = try Self.arena(runs: 4, run: 8192)
    let first = try arena.allocate(byteCount: 6144, alignment: 64)
    let second = try arena.allocate(byteCount: 6144, alignment: 64, oneRun: true)
    #expect(second.block.plainArena == arena.number)
    #expect(second.block.arenaOffset == 8192)
    let error = #expect(throws: DMAError.self) {
      _ = try arena.allocate(byteCount: 8193, oneRun: true)
    }
    #expect(error?.code == .exhausted)
    #expect(error?.cause.contains("runs of 8192") == true)
    #expect(first.byteCount == second.byteCount)
    #expect(arena.buffersOut == 2)
  }

  @Test("the last run may be shorter than the others")
  func ragged() throws {
    let (arena, device) = try ArenaTests.attached(
      5 * 4096, layout: .scattered(runByteCount: 8192, seed: 1))
    #expect(arena.byteCount == 5 * 4096)
    let byMemory = device.mappings.sorted { $0.memory < $1.memory }
    #expect(byMemory.map(\.byteCount) == [8192, 8192, 4096])
  }

  @Test("a run that does not begin at a page traps")
  func misaligned() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      _ = DMAPlacement([0x1800], runShift: 12, byteCount: 4096, window: nil)
    }
    expectMessage(result, "does not begin at a page")
  }
}
