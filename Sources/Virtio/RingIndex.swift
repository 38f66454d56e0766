/// A free-running ring index: it counts modulo 2^16 whatever the ring's size (virtio 1.2, 2.7.6).
///
/// Only its distance to another index has a meaning; so it has no `<` and no plain arithmetic.
@frozen
public struct RingIndex: Hashable, Sendable, CustomStringConvertible {
  /// The 16 bits as they stand in the ring.
  public var rawValue: UInt16

  /// Wraps the 16 bits of a ring.
  @inlinable @inline(__always)
  public init(_ rawValue: UInt16) { self.rawValue = rawValue }

  /// The index `count` entries further on.
  @inlinable @inline(__always)
  public func advanced(by count: UInt16) -> RingIndex { RingIndex(rawValue &+ count) }

  /// How many entries lie from `earlier` to this index, 0-65,535.
  @inlinable @inline(__always)
  public func distance(from earlier: RingIndex) -> UInt16 { rawValue &- earlier.rawValue }

  /// Whether moving an index from `old` to `new` passes `event`, so that the other side asked to be
  /// told (virtio 1.2, 2.7.7.2 and 2.7.10).
  ///
  /// - Parameters:
  ///   - event: The other side's `used_event` or `avail_event`: tell me when this entry is written.
  ///   - old: The index at the last notification decision.
  ///   - new: The index now.
  /// - Returns: True if the other side wants a notification.
  @inlinable @inline(__always)
  public static func crosses(event: RingIndex, from old: RingIndex, to new: RingIndex) -> Bool {
    new.rawValue &- event.rawValue &- 1 < new.rawValue &- old.rawValue
  }

  /// The index as a decimal number.
  public var description: String { String(rawValue) }
}
