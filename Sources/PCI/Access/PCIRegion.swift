/// A region of a function as this process reaches it.
public struct PCIRegion: Sendable, Equatable {
  /// Which of the six BARs.
  public let index: Int
  /// Its size.
  public let byteCount: UInt64
  /// The parts that are mapped into this process, by offset; the rest is reached by calls.
  public let mapped: [Range<UInt64>]
  /// How it is reached, in words.
  public let way: String

  /// Makes a region.
  public init(index: Int, byteCount: UInt64, mapped: [Range<UInt64>], way: String) {
    self.index = index
    self.byteCount = byteCount
    self.mapped = mapped
    self.way = way
  }
}

/// Why a function is about to go, or has failed.
public enum PCIDeparture: Sendable, Equatable {
  /// The system asks for it back to unplug it, or has begun to take it.
  case removalRequested
  /// The bus reports an error that it does not recover from.
  case failed
}
