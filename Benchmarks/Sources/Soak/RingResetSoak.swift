import VBlkDriver
import VBlkEmu

/// Resets a queue under load again and again, on every kind of ring, against a device on a thread
/// of its own; each time with another depth. Every request must come back once.
///
/// Usage: Soak RESETS SEED. Ends with 1 where a request was lost, came twice, or a rule was broken.
@main
struct RingResetSoak {
  static let depth = 32
  static let blockBytes = 4096
  static let blocks: UInt64 = 4096

  /// Requests, those lost and those that came twice.
  struct Tally {
    var resets = 0
    var requests: UInt64 = 0
    var lost = 0
    var twice = 0
  }

  static func main() throws {
    let numbers = CommandLine.arguments.dropFirst().compactMap { UInt64($0) }
    guard numbers.count == 2 else { fatalError("usage: Soak RESETS SEED") }
    let resets = Int(numbers[0])
    var random = Random(state: numbers[1] | 1)
    var tally = Tally()
    let features = [[], ["packed"], ["in-order"], ["packed", "in-order"]]
    let kinds = features.flatMap { [($0, true), ($0, false)] }
    for (index, kind) in kinds.enumerated() {
      let share = resets * (index + 1) / kinds.count - resets * index / kinds.count
      let before = tally
      try run(kind.0, isIndirect: kind.1, resets: share, &random, &tally)
      let name =
        (kind.0.contains("packed") ? kind.0 : ["split"] + kind.0) + [kind.1 ? "indirect" : "direct"]
      let count = tally.requests - before.requests
      print("\(name.joined(separator: " ")): \(share) resets, \(count) requests")
    }
    print(
      "ring resets: \(tally.resets), \(tally.requests) requests, \(tally.lost) lost, "
        + "\(tally.twice) twice")
    if tally.lost + tally.twice > 0 || tally.resets != resets { fatalError("seed \(numbers[1])") }
  }

  /// Keeps one ring busy and resets it.
  static func run(
    _ features: [String], isIndirect: Bool, resets: Int, _ random: inout Random,
    _ tally: inout Tally
  ) throws {
    var configuration = EmulatedDisk.Configuration(
      .memory(byteCount: blocks * UInt64(blockBytes)))
    configuration.mode = .threaded
    for name in features + ["ring-reset"] { try configuration.offer(named: name) }
    if !isIndirect { try configuration.withhold(named: "indirect-desc") }
    let disk = try EmulatedDisk(configuration)
    var options = DeviceOptions()
    options.depth = depth
    let device = try Device(disk.function, options: options)
    var queue = try device.makeQueue()
    var live: Set<UInt64> = []
    for _ in 0..<resets {
      for _ in 0..<1 + random.below(4) {
        try fill(&queue, device, &live, &random, &tally)
        reap(&queue, &live, &tally, most: random.below(40))
      }
      try fill(&queue, device, &live, &random, &tally)
      try queue.reset(depth: 1 + random.below(queue.maximumDepth))
      tally.resets += 1
    }
    queue.drain()
    reap(&queue, &live, &tally, most: .max)
    tally.lost += live.count
    guard queue.statistics.violations == 0, disk.violations.isEmpty,
      queue.statistics.resets == UInt64(resets)
    else { fatalError("a rule was broken: \(queue.statistics), \(disk.violations)") }
  }

  /// Submits until the queue is full or a die falls so, and mostly kicks.
  static func fill(
    _ queue: inout Queue, _ device: Device, _ live: inout Set<UInt64>, _ random: inout Random,
    _ tally: inout Tally
  ) throws {
    var isFull = false
    while !isFull, random.below(64) != 0 {
      let offset = UInt64(random.below(Int(blocks))) * UInt64(blockBytes)
      let buffer = try device.memory.allocate(byteCount: blockBytes)
      let submission =
        random.below(2) == 0
        ? queue.submitRead(at: offset, into: buffer, tag: tally.requests)
        : queue.submitWrite(at: offset, from: buffer, tag: tally.requests)
      switch consume submission {
      case .queued:
        live.insert(tally.requests)
        tally.requests += 1
      case .refused(let code, _):
        guard code == .busy else { fatalError("refused: \(queue.error(for: code))") }
        isFull = true
      case .completed: fatalError("a whole block ended inside its submission")
      }
    }
    if random.below(8) != 0 { queue.kick() }
  }

  /// Takes at most `most` completions.
  static func reap(
    _ queue: inout Queue, _ live: inout Set<UInt64>, _ tally: inout Tally, most: Int
  ) {
    queue.poll(max: most) { done in
      if live.remove(done.tag) == nil { tally.twice += 1 }
      guard done.result.code == nil || done.result.code == .reset else {
        fatalError("tag \(done.tag): \(done.result)")
      }
    }
  }

  /// xorshift64*.
  struct Random {
    var state: UInt64

    mutating func below(_ bound: Int) -> Int {
      state ^= state >> 12
      state ^= state << 25
      state ^= state >> 27
      return Int((state &* 0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
  }
}
