import Testing
import Virtio

@Suite struct RingIndexTests {
  @Test("distance undoes advanced")
  func distance() {
    #expect(RingIndex(2).distance(from: RingIndex(65_533)) == 5)
  }
}
