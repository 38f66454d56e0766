/// What a queue has done since the disk was made; a reset doesn't clear it.
public struct QueueCounters: Equatable, Sendable {
  /// Requests completed, whatever their status.
  public var requests: UInt64 = 0
  /// Bytes of data read or written by requests that succeeded.
  public var bytes: UInt64 = 0
  /// Requests that ended with a status other than OK.
  public var failedRequests: UInt64 = 0
  /// Times that the contents were made durable, by a FLUSH or a write-through write.
  public var flushes: UInt64 = 0
  /// Doorbells received.
  public var kicks: UInt64 = 0
  /// Notifications sent.
  public var notifications: UInt64 = 0
  /// Notifications that the driver had suppressed.
  public var suppressedNotifications: UInt64 = 0
  /// DMA accesses that the emulated IOMMU refused.
  public var dmaFaults: UInt64 = 0
  /// Rules that the driver broke; ``EmulatedDisk/violations`` names them.
  public var violations: UInt64 = 0
  /// Requests that a fault rule or a hostile switch touched.
  public var injectedFaults: UInt64 = 0
}
