import Testing

@testable import DMAPool

@Suite struct DeviceAddressSpaceTests {
  let mega: UInt64 = 1 << 20

  private func take(
    _ space: DeviceAddressSpace, _ byteCount: UInt64, in ranges: [ClosedRange<UInt64>],
    alignment: UInt64 = 4096, avoiding: ClosedRange<UInt64> = 1 << 62...1 << 62
  ) -> UInt64? {
    space.take(byteCount: byteCount, in: ranges, alignment: alignment, avoiding: avoiding)?
      .lowerBound
  }

  @Test("the lowest address comes first, and it is not 0")
  func lowest() {
    let space = DeviceAddressSpace()
    #expect(take(space, mega, in: [0...(1 << 40)]) == 2 * mega)
  }

  @Test("windows are apart by a guard, and rise")
  func rising() {
    let space = DeviceAddressSpace()
    let ranges: [ClosedRange<UInt64>] = [0...(1 << 40)]
    #expect(take(space, 2 * mega, in: ranges) == 2 * mega)
    #expect(take(space, 3 * mega, in: ranges) == 6 * mega)
    #expect(take(space, 1, in: ranges) == 12 * mega)
  }

  @Test("a freed address is used again only when there is no room above")
  func nextFit() {
    let space = DeviceAddressSpace()
    let ranges = [0...(16 * mega - 1)]
    #expect(take(space, 2 * mega, in: ranges) == 2 * mega)
    space.free(2 * mega...4 * mega - 1)
    #expect(take(space, 2 * mega, in: ranges) == 6 * mega)
    #expect(take(space, 2 * mega, in: ranges) == 10 * mega)
    #expect(take(space, 2 * mega, in: ranges) == 14 * mega)
    #expect(take(space, 2 * mega, in: ranges) == 2 * mega)
    #expect(take(space, 2 * mega, in: ranges) == nil)
  }

  @Test("only ranges that hold all of the window are used, in any order given")
  func ranges() {
    let space = DeviceAddressSpace()
    let ranges = [64 * mega...80 * mega - 1, 0...3 * mega, 8 * mega...9 * mega - 1]
    #expect(take(space, 2 * mega, in: ranges) == 64 * mega)
    #expect(take(space, mega, in: ranges) == 68 * mega)
    #expect(take(space, 32 * mega, in: ranges) == nil)
    #expect(take(space, mega, in: []) == nil)
  }

  @Test("a window may end at the last address there is, and none wraps")
  func top() {
    let space = DeviceAddressSpace()
    let high = UInt64.max - (2 * mega - 1)
    #expect(take(space, 2 * mega, in: [high...UInt64.max]) == high)
    #expect(take(space, 2 * mega, in: [high...UInt64.max]) == nil)
    #expect(take(space, mega, in: [UInt64.max - 10...UInt64.max]) == nil)
    #expect(take(space, mega, in: [0...(1 << 40)]) == 2 * mega)
  }

  @Test("larger alignments than 2 MiB are kept, smaller ones are raised to it")
  func alignment() {
    let space = DeviceAddressSpace()
    #expect(take(space, mega, in: [1...(1 << 40)], alignment: 1 << 30) == 1 << 30)
    #expect(take(space, mega, in: [1...(1 << 40)], alignment: 4096)! % (2 * mega) == 0)
  }

  @Test("a window keeps clear of the memory's own addresses")
  func avoided() {
    let space = DeviceAddressSpace()
    #expect(take(space, mega, in: [0...(1 << 40)], avoiding: 4 * mega...6 * mega - 1) == 8 * mega)
  }

  @Test("physical windows are kept clear of, and may overlap others")
  func physical() {
    let space = DeviceAddressSpace()
    #expect(take(space, mega, in: [0...(1 << 40)]) == 2 * mega)
    space.take(physical: 2 * mega...4 * mega - 1)
    space.take(physical: 6 * mega...8 * mega - 1)
    #expect(take(space, mega, in: [0...(1 << 40)]) == 10 * mega)
    space.free(2 * mega...4 * mega - 1)
  }

  @Test("random windows never touch, whatever is freed")
  func model() {
    let seed = TestSeed.ofThisRun
    var random = seed.generator
    let space = DeviceAddressSpace()
    let ranges = [0...(64 * mega), 100 * mega...300 * mega]
    var taken: [ClosedRange<UInt64>] = []
    for _ in 0..<3000 {
      if taken.count > 8 || (!taken.isEmpty && Bool.random(using: &random)) {
        space.free(taken.remove(at: Int.random(in: taken.indices, using: &random)))
      }
      let count = UInt64.random(in: 1...(20 * mega), using: &random)
      guard
        let window = space.take(
          byteCount: count, in: ranges, alignment: 4096, avoiding: 1 << 62...1 << 62)
      else { continue }
      #expect(window.lowerBound > 0 && window.lowerBound % (2 * mega) == 0, seed.replay)
      #expect(ranges.contains { $0.contains(window.lowerBound) && $0.contains(window.upperBound) })
      for other in taken {
        let guarded = other.lowerBound - 2 * mega...other.upperBound + 2 * mega
        #expect(!guarded.overlaps(window), seed.replay)
      }
      taken.append(window)
    }
  }

  @Test("a window that is not taken can't be freed")
  func foreignFree() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      DeviceAddressSpace().free(4096...8191)
    }
    expectMessage(result, "are freed, but not taken")
  }
}
