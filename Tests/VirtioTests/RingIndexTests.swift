import Testing
import Virtio

@Suite struct RingIndexTests {
  /// Independent of the wrapping arithmetic: walks from `old` to `new` entry by entry, and looks
  /// whether `event` is written on the way (virtio 1.2, 2.7.7.2: "tell me when entry `event` is
  /// written", which is when the index moves from `event` to `event + 1`).
  static func passes(_ event: Int, from old: Int, to new: Int) -> Bool {
    var index = old
    while index != new {
      if index == event { return true }
      index = index == 65535 ? 0 : index + 1
    }
    return false
  }

  /// The indexes around the wrap.
  static let window = Array(65_520...65_535) + Array(0...15)

  @Test("2.7.7.2 notifies exactly when the event is crossed: all triples around the wrap")
  func crossesAroundTheWrap() {
    for old in Self.window {
      for new in Self.window {
        for event in Self.window {
          let expected = Self.passes(event, from: old, to: new)
          let found = RingIndex.crosses(
            event: RingIndex(UInt16(event)), from: RingIndex(UInt16(old)),
            to: RingIndex(UInt16(new)))
          if found != expected { Issue.record("event \(event) from \(old) to \(new): \(found)") }
        }
      }
    }
  }

  @Test(
    "2.7.7.2 notifies exactly when the event is crossed: every event there is",
    arguments: [
      (0, 0), (0, 1), (65_535, 0), (65_535, 1), (65_533, 2), (1, 0), (2, 65_533), (0, 32_768),
      (32_767, 0), (100, 40_000), (40_000, 100), (7, 7),
    ])
  func crossesEveryEvent(old: Int, new: Int) {
    // The events that lie on the way, marked by walking it once.
    var isOnTheWay = [Bool](repeating: false, count: 65536)
    var index = old
    while index != new {
      isOnTheWay[index] = true
      index = (index + 1) % 65536
    }
    for event in 0..<65536 {
      let found = RingIndex.crosses(
        event: RingIndex(UInt16(event)), from: RingIndex(UInt16(old)), to: RingIndex(UInt16(new)))
      if found != isOnTheWay[event] { Issue.record("event \(event): \(found)") }
    }
  }

  @Test("an index that did not move notifies nobody")
  func standingStill() {
    for event in 0..<65536 {
      let index = RingIndex(UInt16(event))
      #expect(!RingIndex.crosses(event: index, from: index, to: index))
    }
  }

  @Test("distance undoes advanced, over the wrap too")
  func distance() {
    for start in Self.window {
      let index = RingIndex(UInt16(start))
      for count in 0..<65536 {
        let moved = index.advanced(by: UInt16(count))
        if moved.distance(from: index) != UInt16(count)
          || Int(moved.rawValue) != (start + count) % 65536
        {
          Issue.record("\(start) advanced by \(count) is \(moved)")
        }
      }
    }
    #expect(RingIndex(2).distance(from: RingIndex(65_533)) == 5)
    #expect(RingIndex(65_533).distance(from: RingIndex(2)) == 65_531)
  }

  @Test("an index is 16 bits and reads as a number")
  func description() {
    #expect(MemoryLayout<RingIndex>.size == 2)
    #expect(RingIndex(65_535).description == "65535")
    #expect(RingIndex(65_535).advanced(by: 1) == RingIndex(0))
  }
}
