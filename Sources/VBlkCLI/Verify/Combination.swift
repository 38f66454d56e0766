internal import VBlk

/// One combination of features, ring, sizes and limits, as a device string; the same for a seed.
struct Combination: Equatable {
  let device: String
  let seed: UInt64

  /// The combination that a seed stands for.
  init(seed: UInt64) {
    var random = SplitMix(seed: seed)
    func chance(_ of: UInt64) -> Bool { random.below(of) == 0 }
    var options: [String] = []
    let indirect = !chance(3)
    if !indirect { options.append("indirect=off") }
    if chance(2) {
      options += ["packed", "queue-size=\((indirect ? 1 : 3) + random.below(300))"]
    } else {
      options.append("queue-size=\(1 << ((indirect ? 0 : 2) + random.below(8)))")
    }
    let block = UInt64(512) << (chance(2) ? 0 : random.below(4))
    if block > 512 { options.append("blk-size=\(block)") }
    switch random.below(4) {
    case 0: options.append("seg-max=off")
    case 1: options.append("seg-max=\(1 + random.below(4))")
    case 2: options.append("seg-max=\(1 + random.below(130))")
    default: break
    }
    switch random.below(4) {
    case 0: options.append("size-max=0")
    case 1: options.append("size-max=\(block * (1 + random.below(20)))")
    default: break
    }
    for feature in ["event-idx", "flush", "config-wce", "discard", "write-zeroes"]
    where chance(4) { options.append("\(feature)=off") }
    if chance(4) { options.append("in-order") }
    if chance(3) {
      options.append("mq=off")
    } else {
      options.append("queues=\(1 + random.below(4))")
    }
    if chance(16) { options.append("threaded") }
    device = "emu:64k," + options.joined(separator: ",")
    self.seed = seed
  }

  /// What repeats it.
  var reproduction: String { "vblk verify \(device) --seed \(seed)" }

  /// Runs it.
  ///
  /// - Returns: What went wrong, or nil.
  func run() -> String? {
    do {
      var run = try VerifyRun(device, seed: seed)
      return try run.run()?.description
    } catch {
      return "\(error)"
    }
  }
}
