import Testing
import VBlk

@testable import VBlkCLI

/// Seeded combinations of features, ring, size, limits and queues, each written and read back.
@Suite("Feature matrix")
struct MatrixTests {
  /// More seeds than `make test` has time for are `make matrix`.
  static let seeds: ClosedRange<UInt64> = 1...2000

  @Test("2,000 combinations read back what was written, and break no rule")
  func combinations() {
    for seed in Self.seeds {
      let combination = Combination(seed: seed)
      if let failure = combination.run() {
        Issue.record("\(failure); repeat: \(combination.reproduction)")
      }
    }
  }

  @Test("the combinations reach every option, and are what their seed says")
  func variety() {
    let all = Self.seeds.map { Combination(seed: $0) }
    #expect(all == Self.seeds.map { Combination(seed: $0) })
    #expect(Set(all.map(\.device)).count > 1900)
    for part in [
      "packed", "indirect=off", "seg-max=off", "size-max=0", "event-idx=off", "flush=off",
      "config-wce=off", "discard=off", "write-zeroes=off", "mq=off", "queues=4", "in-order",
      "threaded", "blk-size=4096", "queue-size=1,",
    ] {
      #expect(all.contains { $0.device.contains(part) }, "\(part)")
    }
  }

  @Test("a device string that is a reproduction means the same device")
  func reproduction() throws {
    let combination = Combination(seed: 7)
    #expect(combination.reproduction.hasPrefix("vblk verify emu:64k,"))
    _ = try DeviceAddress(combination.device)
    #expect(combination.run() == nil)
  }
}
