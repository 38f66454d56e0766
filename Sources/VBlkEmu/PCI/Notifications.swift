internal import Synchronization
internal import Virtio

/// Doorbells whose value is more than the queue's index (virtio 1.2, 2.9 and 4.1.5.2).
///
/// ```
/// NOTIFICATION_DATA    32 bits: value:16 next place:15 wrap:1      else 16 bits: value
/// NOTIF_CONFIG_DATA    value is what `queue_notif_config_data` says, else the queue's index
/// ```
struct KickFormat: OptionSet {
  let rawValue: UInt8

  static let wide = KickFormat(rawValue: 1)
  static let configured = KickFormat(rawValue: 2)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init(_ features: Features) {
    self = []
    if features.contains(.notificationData) { insert(.wide) }
    if features.contains(.notificationConfigData) { insert(.configured) }
  }
}

extension DeviceCore {
  /// What `queue_notif_config_data` reads: nothing that could be taken for an index.
  func notificationData(_ queue: Int) -> UInt16 {
    UInt16(truncatingIfNeeded: 0xA003 &+ queue &* 5)
  }

  /// A doorbell write where one of the two features was negotiated, or of 32 bits where none was.
  @inline(never)
  func ringNegotiated(_ position: UInt64, _ value: UInt32, width: Int) {
    let format = KickFormat(rawValue: kickFormat.load(ordering: .acquiring))
    let offset = BARLayout.notify + position
    guard width == (format.contains(.wide) ? 4 : 2) else {
      return refuseKick(.kickWidth, offset, UInt32(width))
    }
    let index = Int(position / BARLayout.notifyMultiplier)
    guard index < queueCount, position % BARLayout.notifyMultiplier == 0 else {
      return refuseKick(.kickOutOfRange, offset, value)
    }
    let isConfigured = format.contains(.configured)
    let wanted = isConfigured ? notificationData(index) : UInt16(index)
    guard UInt16(truncatingIfNeeded: value) == wanted else {
      return refuseKick(isConfigured ? .kickValueWrong : .kickOutOfRange, offset, value)
    }
    if format.contains(.wide) {
      queues.withQueue(index) { $0.checkNotification(UInt16(value >> 16)) }
    }
    kick(index)
  }
}

extension DeviceQueue {
  /// Holds the place that a notification names against what is available. It is a hint; a wrong one
  /// is named and has no other effect.
  mutating func checkNotification(_ next: UInt16) {
    guard live, ringsMapped else { return }
    let wanted = isPacked ? packed.nextUnavailable : split.lastAvailable &+ split.pending
    guard next != wanted else { return }
    report(.kickDataWrong, .ignored, at: UInt64(wanted), value: UInt64(next))
  }
}
