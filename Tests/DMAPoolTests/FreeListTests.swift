import Testing

@testable import DMAPool

@Suite struct FreeListTests {
  @Test("first fit takes the lowest offset that fits, and aligns it")
  func firstFit() {
    var list = FreeList(byteCount: 4096)
    #expect(list.take(64, alignment: 1) == 0)
    #expect(list.take(128, alignment: 256) == 256)
    #expect(list.take(192, alignment: 64) == 64)
    #expect(list.extents == [384..<4096])
    #expect(list.take(3713, alignment: 1) == nil)
    #expect(list.byteCount == 3712)
    #expect(list.longest == 3712)
  }

  @Test("a block within a boundary never crosses it")
  func boundary() {
    var list = FreeList(byteCount: 16384)
    #expect(list.take(1024, alignment: 64) == 0)
    #expect(list.take(4096, alignment: 64, within: 4096) == 4096)
    #expect(list.take(3072, alignment: 64, within: 4096) == 1024)
    #expect(list.take(2048, alignment: 64, within: 4096) == 8192)
    #expect(list.take(2112, alignment: 64, within: 4096) == 12288)
  }

  @Test("freed extents join on both sides, on either, on none", arguments: 0..<8)
  func coalescing(freed: Int) {
    var list = FreeList(byteCount: 192)
    for index in 0..<3 { #expect(list.take(64, alignment: 64) == index * 64) }
    let first = (0..<3).filter { freed >> $0 & 1 == 1 }
    for index in first { list.give(index * 64..<index * 64 + 64) }
    for index in (0..<3) where !first.contains(index) { list.give(index * 64..<index * 64 + 64) }
    #expect(list == FreeList(byteCount: 192))
  }

  @Test("random takes and gives agree with a map of granules")
  func model() {
    let seed = TestSeed.ofThisRun
    var random = seed.generator
    let granules = 96
    var list = FreeList(byteCount: granules * 64)
    var used = [Bool](repeating: false, count: granules)
    var out: [Range<Int>] = []
    for _ in 0..<20_000 {
      if Bool.random(using: &random), let extent = out.randomElement(using: &random) {
        out.removeAll { $0 == extent }
        list.give(extent)
        for index in extent.lowerBound / 64..<extent.upperBound / 64 { used[index] = false }
      } else {
        let count = Int.random(in: 1...12, using: &random)
        let alignment = 1 << Int.random(in: 0...4, using: &random)
        let expected = stride(from: 0, through: granules - count, by: alignment)
          .first { start in !used[start..<start + count].contains(true) }
        let taken = list.take(count * 64, alignment: alignment * 64)
        #expect(taken == expected.map { $0 * 64 }, seed.replay)
        guard let taken, taken == expected.map({ $0 * 64 }) else { continue }
        out.append(taken..<taken + count * 64)
        for index in taken / 64..<taken / 64 + count { used[index] = true }
      }
      #expect(list.byteCount == used.filter { !$0 }.count * 64, seed.replay)
      #expect(list.extents == FreeListTests.extents(used), seed.replay)
    }
  }

  /// The runs of free granules, in bytes.
  private static func extents(_ used: [Bool]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var start: Int?
    for (index, isUsed) in (used + [true]).enumerated() {
      if !isUsed { start = start ?? index }
      if isUsed, let first = start {
        result.append(first * 64..<index * 64)
        start = nil
      }
    }
    return result
  }

  @Test("bytes freed twice trap")
  func doubleGive() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      var list = FreeList(byteCount: 256)
      _ = list.take(128, alignment: 64)
      list.give(0..<64)
      list.give(0..<128)
    }
    expectMessage(result, "are freed, but partly free already")
  }
}
