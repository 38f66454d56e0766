/// What may follow a device's place in a device string, after commas.
public struct AddressOptions: Sendable, Equatable {
  /// A feature that an emulated device offers unless it is told not to, `event-idx=off`, or, if it
  /// ``isOnRequest``, only if it is told to: `in-order`.
  public enum Feature: String, Sendable, CaseIterable {
    /// VIRTIO_F_INDIRECT_DESC.
    case indirect
    /// VIRTIO_F_EVENT_IDX.
    case eventIndex = "event-idx"
    /// VIRTIO_BLK_F_FLUSH.
    case flush
    /// VIRTIO_BLK_F_CONFIG_WCE.
    case cacheControl = "config-wce"
    /// VIRTIO_BLK_F_MQ.
    case multiqueue = "mq"
    /// VIRTIO_BLK_F_DISCARD.
    case discard
    /// VIRTIO_BLK_F_WRITE_ZEROES.
    case writeZeroes = "write-zeroes"
    /// VIRTIO_BLK_F_BLK_SIZE; its option is a number too.
    case blockSize = "blk-size"
    /// VIRTIO_BLK_F_SEG_MAX; its option is a number too.
    case segmentsMax = "seg-max"
    /// VIRTIO_F_IN_ORDER.
    case inOrder = "in-order"
    /// VIRTIO_BLK_F_LIFETIME.
    case lifetime
    /// VIRTIO_BLK_F_SECURE_ERASE.
    case secureErase = "secure-erase"
    /// VIRTIO_F_RING_RESET.
    case ringReset = "ring-reset"
    /// VIRTIO_F_NOTIFICATION_DATA.
    case notificationData = "notification-data"
    /// VIRTIO_F_NOTIF_CONFIG_DATA.
    case notificationConfigData = "notif-config-data"
    /// VIRTIO_F_ORDER_PLATFORM.
    case orderPlatform = "order-platform"
    /// VIRTIO_F_SUSPEND (virtio 1.4).
    case suspend

    /// Whether the device offers it only if it is told to.
    public var isOnRequest: Bool {
      switch self {
      case .inOrder, .ringReset, .notificationData, .notificationConfigData, .orderPlatform,
        .suspend, .lifetime, .secureErase:
        true
      case .indirect, .eventIndex, .flush, .cacheControl, .multiqueue, .discard, .writeZeroes,
        .blockSize, .segmentsMax:
        false
      }
    }

    /// The specification's name, in small letters.
    var specificationName: String { self == .indirect ? "indirect-desc" : rawValue }
  }

  /// Queues to set up; nil leaves it to the command.
  public var queues: Int?
  /// Entries of each ring; nil leaves it to the device.
  public var queueSize: Int?
  /// The block that an emulated device reports.
  public var blockByteCount: Int?
  /// The segments that an emulated device takes in a request.
  public var segmentsMax: Int?
  /// The bytes that an emulated device takes in a segment; 0 for no limit.
  public var segmentByteCountMax: Int?
  /// Nothing is to be written.
  public var isReadOnly = false
  /// The serial that an emulated device answers with, up to 20 bytes.
  public var serial: String?
  /// An emulated device whose data goes nowhere and comes from nowhere.
  public var isNull = false
  /// An emulated device on a thread of its own.
  public var isThreaded = false
  /// An emulated device that offers packed rings.
  public var isPacked = false
  /// The features that are to be offered, of those that are not in any case.
  public var featuresOn: Set<Feature> = []
  /// The zones of an emulated device.
  public var zoned = ZonedOptions()
  /// An emulated device that names the rules that the driver breaks.
  public var isWatched = false
  /// The features that are not to be offered.
  public var featuresOff: Set<Feature> = []

  /// No option at all.
  public init() {}
}
