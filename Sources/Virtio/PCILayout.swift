/// Virtio over PCI: identities, capabilities and registers (virtio 1.2, 4.1).
public enum VirtioPCI {
  /// Vendor of every virtio function.
  public static let vendorID: UInt16 = 0x1AF4
  /// A modern block device.
  public static let modernBlockID: UInt16 = 0x1042
  /// A transitional block device, which a modern driver drives in modern mode.
  public static let transitionalBlockID: UInt16 = 0x1001
  /// Capability id of a vendor-specific capability, which every virtio structure is.
  public static let vendorCapabilityID: UInt8 = 0x09
  /// Capability id of MSI-X.
  public static let msixCapabilityID: UInt8 = 0x11
  /// Capability id of PCI Express.
  public static let expressCapabilityID: UInt8 = 0x10
  /// "No vector": no interrupt for this event, or a vector that was refused.
  public static let noVector: UInt16 = 0xFFFF
  /// Bytes of the common configuration that every device has.
  public static let commonConfigMinimum = 0x38
}

/// `cfg_type` of a virtio capability (virtio 1.2, 4.1.4).
public enum VirtioCapabilityType: UInt8, Sendable, CaseIterable {
  /// The common configuration.
  case commonConfig = 1
  /// The notification area.
  case notify = 2
  /// The interrupt status byte.
  case isr = 3
  /// The device's own configuration.
  case deviceConfig = 4
  /// A window into the BARs through configuration space.
  case pciConfig = 5
  /// Shared memory.
  case sharedMemory = 8
  /// Vendor data.
  case vendor = 9
}

/// Byte offsets of a virtio capability's fields from its start (virtio 1.2, 4.1.4).
public enum VirtioCapabilityLayout {
  /// Capability id, 8 bits.
  public static let id = 0
  /// Next capability, 8 bits.
  public static let next = 1
  /// Length of this capability, 8 bits.
  public static let length = 2
  /// Kind of structure, 8 bits.
  public static let type = 3
  /// BAR that holds the structure, 8 bits.
  public static let bar = 4
  /// Tells several structures of one kind apart, 8 bits.
  public static let structureID = 5
  /// Where in the BAR, 32 bits.
  public static let barOffset = 8
  /// How many bytes, 32 bits.
  public static let byteCount = 12
  /// Notification capability: bytes between two queues' addresses, 32 bits.
  public static let notifyMultiplier = 16
  /// PCI_CFG capability: the data window, 32 bits.
  public static let pciConfigData = 16
  /// Bytes of a plain capability.
  public static let plainLength = 16
  /// Bytes of a notification or PCI_CFG capability.
  public static let extendedLength = 20
}

/// Byte offsets of the common configuration's registers (virtio 1.2, 4.1.4.3).
public enum CommonConfig {
  /// Which half of the device's features, 32 bits.
  public static let deviceFeatureSelect: UInt64 = 0x00
  /// 32 of the device's features.
  public static let deviceFeature: UInt64 = 0x04
  /// Which half of the driver's features, 32 bits.
  public static let driverFeatureSelect: UInt64 = 0x08
  /// 32 of the driver's features.
  public static let driverFeature: UInt64 = 0x0C
  /// Vector of configuration changes, 16 bits.
  public static let configVector: UInt64 = 0x10
  /// Number of queues, 16 bits.
  public static let queueCount: UInt64 = 0x12
  /// Device status, 8 bits.
  public static let deviceStatus: UInt64 = 0x14
  /// Generation of the device configuration, 8 bits.
  public static let configGeneration: UInt64 = 0x15
  /// Which queue the next fields mean, 16 bits.
  public static let queueSelect: UInt64 = 0x16
  /// Entries of the queue, 16 bits.
  public static let queueSize: UInt64 = 0x18
  /// Vector of the queue, 16 bits.
  public static let queueVector: UInt64 = 0x1A
  /// 1 enables the queue, 16 bits.
  public static let queueEnable: UInt64 = 0x1C
  /// Where in the notification area the queue's doorbell is, 16 bits.
  public static let queueNotifyOffset: UInt64 = 0x1E
  /// Device address of the descriptors, 64 bits.
  public static let queueDescriptors: UInt64 = 0x20
  /// Device address of the driver area (available ring), 64 bits.
  public static let queueDriver: UInt64 = 0x28
  /// Device address of the device area (used ring), 64 bits.
  public static let queueDevice: UInt64 = 0x30
  /// Value of a notification with NOTIF_CONFIG_DATA, 16 bits.
  public static let queueNotifyData: UInt64 = 0x38
  /// 1 resets the queue, with RING_RESET, 16 bits.
  public static let queueReset: UInt64 = 0x3A
}

/// The interrupt status byte; reading it clears it (virtio 1.2, 4.1.4.5).
public enum InterruptStatus {
  /// A queue has used buffers.
  public static let queue: UInt8 = 1
  /// The configuration has changed.
  public static let configuration: UInt8 = 2
}
