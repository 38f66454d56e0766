/// The `device_status` byte (virtio 1.2, 2.1).
public struct DeviceStatus: OptionSet, Hashable, Sendable {
  /// The byte as the register holds it.
  public let rawValue: UInt8

  /// Wraps the register's byte.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// 1: the driver has seen the device.
  public static let acknowledge = DeviceStatus(rawValue: 1)
  /// 2: the driver knows how to drive it.
  public static let driver = DeviceStatus(rawValue: 2)
  /// 4: the driver is ready.
  public static let driverOK = DeviceStatus(rawValue: 4)
  /// 8: the features are agreed.
  public static let featuresOK = DeviceStatus(rawValue: 8)
  /// 16: the device is suspended (virtio 1.4).
  public static let suspend = DeviceStatus(rawValue: 16)
  /// 64: the device met an error from which only a reset recovers.
  public static let needsReset = DeviceStatus(rawValue: 64)
  /// 128: the driver has given up on the device.
  public static let failed = DeviceStatus(rawValue: 128)

  /// What a register reads when its device is gone: all ones.
  public static let removed = DeviceStatus(rawValue: 0xFF)
}
