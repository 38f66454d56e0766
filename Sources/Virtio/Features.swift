/// A set of virtio feature bits, as offered by a device or accepted by a driver.
///
/// Bits 0-23 belong to the block device (virtio 1.2, 5.2.3), bits 24 and up to the queues and the
/// negotiation (virtio 1.2, 6).
public struct Features: OptionSet, Hashable, Sendable {
  /// The bits as the 64-bit word that `device_feature` shows in two halves.
  public let rawValue: UInt64

  /// Wraps a 64-bit word of feature bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The set that holds exactly feature bit `bit` (0-63).
  public static func bit(_ bit: Int) -> Features { Features(rawValue: 1 << UInt64(bit)) }

  // Block device (virtio 1.2, 5.2.3).

  /// Bit 1: `size_max`, the most bytes of one segment, is valid.
  public static let sizeMax = bit(1)
  /// Bit 2: `seg_max`, the most data segments of one request, is valid.
  public static let segMax = bit(2)
  /// Bit 4: legacy disk geometry is valid.
  public static let geometry = bit(4)
  /// Bit 5: the device is read-only.
  public static let readOnly = bit(5)
  /// Bit 6: `blk_size`, the logical block size in bytes, is valid.
  public static let blockSize = bit(6)
  /// Bit 9: the FLUSH request exists.
  public static let flush = bit(9)
  /// Bit 10: the topology fields are valid.
  public static let topology = bit(10)
  /// Bit 11: the driver may switch the cache between write-back and write-through.
  public static let configWriteCache = bit(11)
  /// Bit 12: `num_queues` is valid.
  public static let multiQueue = bit(12)
  /// Bit 13: the DISCARD request exists.
  public static let discard = bit(13)
  /// Bit 14: the WRITE_ZEROES request exists.
  public static let writeZeroes = bit(14)
  /// Bit 15: the GET_LIFETIME request exists.
  public static let lifetime = bit(15)
  /// Bit 16: the SECURE_ERASE request exists.
  public static let secureErase = bit(16)
  /// Bit 17: the device may be zoned (virtio 1.3).
  public static let zoned = bit(17)

  // Queues and negotiation (virtio 1.2, 6).

  /// Bit 28: a descriptor may point to a table of descriptors.
  public static let indirectDescriptors = bit(28)
  /// Bit 29: `used_event` and `avail_event` steer notifications.
  public static let eventIndex = bit(29)
  /// Bit 32: virtio 1.0 or later.
  public static let version1 = bit(32)
  /// Bit 33: the device's accesses go through the platform's translation (an IOMMU).
  public static let accessPlatform = bit(33)
  /// Bit 34: the packed virtqueue layout.
  public static let ringPacked = bit(34)
  /// Bit 35: the device uses buffers in the order in which they were made available.
  public static let inOrder = bit(35)
  /// Bit 36: memory accesses are ordered as for a real device.
  public static let orderPlatform = bit(36)
  /// Bit 37: single root I/O virtualisation.
  public static let singleRootIOV = bit(37)
  /// Bit 38: a notification carries the next free position of the ring.
  public static let notificationData = bit(38)
  /// Bit 39: the value of a notification comes from `queue_notif_config_data`.
  public static let notificationConfigData = bit(39)
  /// Bit 40: single queues can be reset.
  public static let ringReset = bit(40)
  /// Bit 43: the device can be suspended (virtio 1.4).
  public static let suspend = bit(43)

  /// Each known bit with the name that the specification gives it, without its prefix.
  public static let names: [(bit: Int, name: String)] = [
    (1, "SIZE_MAX"), (2, "SEG_MAX"), (4, "GEOMETRY"), (5, "RO"), (6, "BLK_SIZE"), (9, "FLUSH"),
    (10, "TOPOLOGY"), (11, "CONFIG_WCE"), (12, "MQ"), (13, "DISCARD"), (14, "WRITE_ZEROES"),
    (15, "LIFETIME"), (16, "SECURE_ERASE"), (17, "ZONED"), (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"), (32, "VERSION_1"), (33, "ACCESS_PLATFORM"), (34, "RING_PACKED"),
    (35, "IN_ORDER"), (36, "ORDER_PLATFORM"), (37, "SR_IOV"), (38, "NOTIFICATION_DATA"),
    (39, "NOTIF_CONFIG_DATA"), (40, "RING_RESET"), (43, "SUSPEND"),
  ]

  /// Each feature that is void without another one, with that other one (1.2: 2.2, 5.2.3).
  ///
  /// NOTIF_CONFIG_DATA is none: without NOTIFICATION_DATA it changes the 16-bit notification, with
  /// it the 32-bit one (virtio 1.2, 4.1.5.2).
  public static let prerequisites: [(feature: Features, needs: Features)] = [
    (.configWriteCache, .flush)
  ]

  /// The names of all bits in this set, lowest first; an unknown bit reads `bit N`.
  public var described: [String] {
    (0..<64).filter { rawValue >> UInt64($0) & 1 == 1 }.map { bit in
      Features.names.first { $0.bit == bit }?.name ?? "bit \(bit)"
    }
  }

  /// This set less every feature whose prerequisite is not in it.
  public var withoutOrphans: Features {
    Features.prerequisites.reduce(self) { set, rule in
      set.isSuperset(of: rule.needs) ? set : set.subtracting(rule.feature)
    }
  }
}
