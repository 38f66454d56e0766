public import Virtio

/// What a fault rule does to a request that it matches.
///
/// | fault | what a correct driver must do |
/// |---|---|
/// | `.status` | fail this operation with that error; the others go on |
/// | `.hold` | wait, up to its deadline; keep the buffers until the device is stopped |
/// | `.delay` | wait; take other completions in any order |
/// | `.drop` | end it at its deadline by a reset, and give the buffer back only after that |
/// | `.lose` | nothing: it can't know; a later read shows the old data |
/// | `.corrupt` | nothing: it can't know; a checksum of the user's does |
public enum FaultAction: Equatable, Sendable {
  /// Answer with this status byte; no data moves.
  case status(UInt8)
  /// Keep it until ``EmulatedDisk/releaseHeld(queue:)``.
  case hold
  /// Complete it only when the queue has been served this many times more, or when it is released.
  case delay(serves: Int)
  /// Never answer.
  case drop
  /// Answer OK without having done anything.
  case lose
  /// Do it, but flip the bits of `mask` in the first byte of the data: in memory after a read, in
  /// the store after a write.
  case corrupt(mask: UInt8)
}

/// When to inject a fault, and which. The first rule that matches a request decides.
///
/// Counts are kept per queue, and each queue draws from its own seeded generator, so a run can be
/// repeated whatever the other queues do.
public struct FaultRule: Equatable, Sendable {
  /// Request types that the rule is for; nil for all.
  public var operations: Set<RequestType>?
  /// Sectors: a request matches if its first sector is among them; nil for all.
  public var sectors: Range<UInt64>?
  /// Matches to let pass before the first fault.
  public var skip: UInt64
  /// Faults to inject, then the rule sleeps.
  public var count: UInt64
  /// Probability of a fault at a match, 0-1.
  public var probability: Double
  /// What to do.
  public var action: FaultAction

  /// Makes a rule; without conditions it matches every request.
  public init(
    _ action: FaultAction, operations: Set<RequestType>? = nil, sectors: Range<UInt64>? = nil,
    skip: UInt64 = 0, count: UInt64 = .max, probability: Double = 1
  ) {
    self.action = action
    self.operations = operations
    self.sectors = sectors
    self.skip = skip
    self.count = count
    self.probability = probability
  }
}

/// In which order the requests of a batch complete.
public enum CompletionOrder: Equatable, Sendable {
  /// As they were made available.
  case inOrder
  /// The last one first.
  case reversed
  /// Shuffled, by the seed.
  case random(seed: UInt64)
}

/// A small generator for faults and orders (xorshift64*): the same seed, the same run.
struct SeededRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }

  /// A number in 0 ..< `bound`, which is more than 0.
  mutating func next(below bound: Int) -> Int { Int(next() >> 1) % bound }

  /// A number from 0 to less than 1.
  mutating func nextUnit() -> Double { Double(next() >> 11) / Double(1 << 53 as UInt64) }
}
