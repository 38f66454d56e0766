/// What a queue has counted since it was made. Counters never go back, and wrap at 2^64.
@frozen
public struct QueueStatistics: Equatable, Sendable {
  /// Requests (bios) shown to the device.
  public var requests: UInt64 = 0
  /// Data bytes of requests that succeeded.
  public var bytes: UInt64 = 0
  /// Doorbell writes.
  public var kicks: UInt64 = 0
  /// Kicks that the device did not want.
  public var suppressedKicks: UInt64 = 0
  /// Looks at the used index.
  public var polls: UInt64 = 0
  /// Looks that found nothing.
  public var emptyPolls: UInt64 = 0
  /// Submissions refused, and synchronous calls delayed, because no slot was free.
  public var ringFullStalls: UInt64 = 0
  /// Breaches of the protocol by the device.
  public var violations: UInt64 = 0
  /// Doorbell writes because nothing had moved for a while.
  public var rekicks: UInt64 = 0
  /// Bytes copied through bounce blocks.
  public var bouncedBytes: UInt64 = 0
  /// Resets in which bios of this queue were swept.
  public var resets: UInt64 = 0

  /// All zero.
  public init() {}
}
