/// A small world whose parts can act in any order: driver, device, clients. It can be run again and
/// again, and comes to rest after each run.
public protocol World: AnyObject {
  /// Runs one schedule to its end, or until `isKnown` says that the state has been seen.
  ///
  /// - Parameters:
  ///   - schedule: Asked at every step.
  ///   - isKnown: Whether what follows from a state, by its fingerprint, has been walked already.
  /// - Returns: How it ended.
  /// - Throws: What the emulator throws where the world itself is wrong.
  func run(_ schedule: inout Schedule, isKnown: (UInt64) -> Bool) throws -> RunEnd
}

/// How a run ended.
public enum RunEnd: Equatable, Sendable {
  /// Everything ended as it must.
  case ended
  /// The state was known: the run stopped there.
  case known
  /// An oracle says what was wrong.
  case violation(String)
}

/// A hash of a state: FNV-1a over its words. Two states with one hash are taken for one; of a
/// million
/// states, by chance, two have one in 37 million searches.
public struct Fingerprint {
  /// The hash of what was added.
  public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  /// Adds a word.
  public mutating func add(_ word: UInt64) {
    for byte in 0..<8 as Range<UInt64> {
      value = (value ^ (word >> (8 * byte) & 0xFF)) &* 0x100_0000_01B3
    }
  }
}
