/// What the bus itself says of a function, before anybody asks the kernel what it does with it.
public struct PCIIdentity: Sendable, Equatable {
  /// One base address register that decodes something.
  public struct Bar: Sendable, Equatable {
    /// Which of the six.
    public let index: Int
    /// Its address in the machine's space.
    public let base: UInt64
    /// Its size.
    public let byteCount: UInt64
    /// Ports rather than memory.
    public let isIO: Bool
    /// A 64-bit address, which takes the next register too.
    public let is64Bit: Bool
    /// Memory without side effects on reads.
    public let isPrefetchable: Bool
  }

  /// How a virtio function shows its registers.
  public enum Interface: Sendable, Equatable {
    /// By virtio's capabilities: what this driver drives.
    case modern
    /// No virtio capability: ports of the time before the standard.
    case legacyOnly
    /// The capabilities could not be read (without root only the first 64 bytes can).
    case unknown
  }

  /// Where it sits.
  public let address: PCIAddress
  /// The vendor's id.
  public let vendor: UInt16
  /// The device id.
  public let device: UInt16
  /// The subsystem's vendor id.
  public let subsystemVendor: UInt16
  /// The subsystem's device id.
  public let subsystemDevice: UInt16
  /// The class in bits 23-16, subclass 15-8, interface 7-0.
  public let classCode: UInt32
  /// The revision: 0 for transitional virtio functions, 1 and up for modern ones.
  public let revision: UInt8
  /// The registers that decode something, in order.
  public let bars: [Bar]
  /// Whether virtio's capabilities are there.
  public let interface: Interface

  /// Makes an identity, as a test or another bus would.
  public init(
    address: PCIAddress, vendor: UInt16, device: UInt16, subsystemVendor: UInt16 = 0,
    subsystemDevice: UInt16 = 0, classCode: UInt32 = 0x01_0000, revision: UInt8 = 1,
    bars: [Bar] = [], interface: Interface = .modern
  ) {
    self.address = address
    self.vendor = vendor
    self.device = device
    self.subsystemVendor = subsystemVendor
    self.subsystemDevice = subsystemDevice
    self.classCode = classCode
    self.revision = revision
    self.bars = bars
    self.interface = interface
  }

  /// A block device by virtio's ids: 1AF4:1042, or 1AF4:1001 for a transitional one. The class
  /// decides nothing: functions of class "other" exist.
  public var isVirtioBlock: Bool { vendor == 0x1AF4 && (device == 0x1042 || device == 0x1001) }
}
