/// How a device broke the protocol: the reason, and what was seen. It breaks the queue: the device
/// is reset and everything in flight ends with an error.
public struct Violation: Equatable, Sendable, CustomStringConvertible {
  /// One case a row of the hostile-device table.
  public enum Reason: String, Sendable, CaseIterable {
    /// The used index is further than what was published: it jumped, or went back. Or a packed
    /// ring has a used descriptor where nothing is in flight.
    case usedIndexJumped = "the used index jumped"
    /// A used id that no head or buffer id of this queue can have.
    case usedIDOutOfRange = "a used id is out of range"
    /// A used id that is not the head of a request in flight: never submitted, not a head, or used
    /// twice.
    case usedIDNotInFlight = "a used id is not in flight"
    /// IN_ORDER: a used id that is in flight, but older requests are not used (virtio 1.2, 2.7.9).
    case usedOutOfOrder = "a used id is out of order"
    /// A used entry whose status byte the device has not written.
    case statusNotWritten = "a used request has no status"
    /// A used length that exceeds what the device may write.
    case usedLengthTooLarge = "a used length exceeds the request"
    /// An append's sector that is not in the zone (virtio 1.3, 5.2.6.2).
    case appendOutsideZone = "an append went outside its zone (virtio 1.3, 5.2.6.2)"
  }

  /// What happened.
  public let reason: Reason
  /// The used index, id or length that was seen.
  public let value: UInt64
  /// What it is held against.
  public let bound: UInt64

  /// One line.
  public var description: String { "\(reason.rawValue) (saw \(value), bound \(bound))" }
}
