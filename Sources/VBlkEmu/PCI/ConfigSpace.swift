internal import Virtio

/// Where everything lies in the function's regions.
///
/// Region 0, 16 KiB: common configuration at 0, interrupt status at 0x1000, device configuration at
/// 0x2000, doorbells at 0x3000, 4 bytes apart. Region 2, 64 KiB: the MSI-X table, which is the
/// bus's.
enum BARLayout {
  static let virtioRegion = 0
  static let virtioByteCount: UInt64 = 0x4000
  static let common: UInt64 = 0
  static let interruptStatus: UInt64 = 0x1000
  static let device: UInt64 = 0x2000
  @inline(__always) static var notify: UInt64 { 0x3000 }
  @inline(__always) static var notifyMultiplier: UInt64 { 4 }
  static let vectorRegion = 2
  static let vectorByteCount: UInt64 = 0x1_0000
  static let vectorPending: UInt32 = 0x8000

  /// Whether a register's offset is one of the device configuration.
  static func isDeviceConfiguration(_ offset: UInt64) -> Bool { (device..<notify).contains(offset) }

  static func byteCount(_ region: Int, vectors: Int) -> UInt64 {
    switch region {
    case virtioRegion: virtioByteCount
    case vectorRegion where vectors > 0: vectorByteCount
    default: 0
    }
  }
}

/// The function's 256 bytes of configuration space: header, virtio capabilities, MSI-X
/// (PCI 3.0, 6; virtio 1.2, 4.1.4).
struct ConfigSpace {
  static let byteCount = 256
  /// Where the driver moves a window of a BAR to, and its data.
  private(set) var windowOffset = 0

  private var bytes = [UInt8](repeating: 0, count: byteCount)
  /// Bits that a write changes.
  private var writable = [UInt8](repeating: 0, count: byteCount)
  private var next = 0x40
  private var link = 0x34

  private static let command = 4
  private static let busMasterBit: UInt8 = 4

  init(_ configuration: EmulatedDisk.Configuration, deviceByteCount: Int) {
    header(configuration.identity, vectors: configuration.vectorCount)
    if configuration.defects.contains(.identityWrong) { set(2, VirtioPCI.modernBlockID + 1) }
    // A legacy function has its registers elsewhere, which is nothing that this one shows.
    guard configuration.identity != .legacy else { return }
    let hostility = configuration.hostility
    let short = hostility.contains(.capabilityTooShort)
    addCapability(
      .commonConfig, BARLayout.common, short ? 8 : configuration.commonByteCount,
      bar: hostility.contains(.capabilityBarInvalid) ? 7 : 0, length: short ? 8 : nil)
    let wraps = hostility.contains(.capabilityWraps)
    if !hostility.contains(.capabilityMissing) {
      addCapability(
        .notify, wraps ? 0xFFFF_F000 : BARLayout.notify,
        wraps ? 0x2000 : UInt64(configuration.queues) * BARLayout.notifyMultiplier,
        extra: UInt32(BARLayout.notifyMultiplier))
    }
    addCapability(.isr, BARLayout.interruptStatus, 1)
    let outside = hostility.contains(.capabilityOutsideBar)
    addCapability(
      .deviceConfig, outside ? BARLayout.virtioByteCount : BARLayout.device,
      UInt64(deviceByteCount))
    windowOffset = next
    addCapability(.pciConfig, 0, 0, extra: 0)
    let fields = [VirtioCapabilityLayout.bar]
    for field in fields { writable[windowOffset + field] = 0xFF }
    for field in VirtioCapabilityLayout.barOffset..<VirtioCapabilityLayout.extendedLength {
      writable[windowOffset + field] = 0xFF
    }
    if configuration.vectorCount > 0 { addMessageInterrupts(configuration.vectorCount) }
    if hostility.contains(.capabilityLoop) { bytes[link] = 0x40 }
  }

  private mutating func header(_ identity: EmulatedDisk.Identity, vectors: Int) {
    let isModern = identity == .modern
    set(0, VirtioPCI.vendorID)
    set(2, isModern ? VirtioPCI.modernBlockID : VirtioPCI.transitionalBlockID)
    bytes[Self.command] = 2  // memory space on; the bus sees to it
    writable[Self.command] = 6
    set(6, UInt16(identity == .legacy ? 0 : 0x10))  // there are capabilities
    bytes[8] = isModern ? 1 : 0  // revision
    bytes[0x0B] = 1  // mass storage
    bytes[0x0A] = 0x80  // other
    setBar(BARLayout.virtioRegion, BARLayout.virtioByteCount)
    if vectors > 0 { setBar(BARLayout.vectorRegion, BARLayout.vectorByteCount) }
    set(0x2C, VirtioPCI.vendorID)
    set(0x2E, UInt16(isModern ? 0x40 : 2))
    writable[0x3C] = 0xFF  // interrupt line
    bytes[0x3D] = 1  // INTA
  }

  /// A 64-bit memory BAR: all bits above its size can be written.
  private mutating func setBar(_ region: Int, _ byteCount: UInt64) {
    let offset = 0x10 + 4 * region
    bytes[offset] = 4
    let mask = ~(byteCount - 1)
    for index in 0..<8 {
      writable[offset + index] = UInt8(truncatingIfNeeded: mask >> UInt64(8 * index))
    }
  }

  private mutating func addCapability(
    _ type: VirtioCapabilityType, _ offset: UInt64, _ byteCount: UInt64, bar: UInt8 = 0,
    length: UInt8? = nil, extra: UInt32? = nil
  ) {
    typealias Layout = VirtioCapabilityLayout
    let start = next
    let full = extra == nil ? Layout.plainLength : Layout.extendedLength
    startCapability(VirtioPCI.vendorCapabilityID, full)
    bytes[start + Layout.length] = length ?? UInt8(full)
    bytes[start + Layout.type] = type.rawValue
    bytes[start + Layout.bar] = bar
    set(start + Layout.barOffset, UInt32(truncatingIfNeeded: offset))
    set(start + Layout.byteCount, UInt32(truncatingIfNeeded: byteCount))
    if let extra { set(start + Layout.notifyMultiplier, extra) }
  }

  private mutating func addMessageInterrupts(_ vectors: Int) {
    let start = next
    startCapability(VirtioPCI.msixCapabilityID, 12)
    set(start + 2, UInt16(vectors - 1))
    writable[start + 3] = 0xC0  // enable, mask all
    set(start + 4, UInt32(BARLayout.vectorRegion))
    set(start + 8, BARLayout.vectorPending | UInt32(BARLayout.vectorRegion))
    messageControl = start + 2
  }

  private mutating func startCapability(_ id: UInt8, _ byteCount: Int) {
    bytes[link] = UInt8(next)
    bytes[next] = id
    link = next + 1
    next += byteCount
  }

  private mutating func set(_ offset: Int, _ value: some FixedWidthInteger & UnsignedInteger) {
    for index in 0..<(value.bitWidth / 8) {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
    }
  }

  private var messageControl: Int?

  /// Whether the enable bit of MSI-X is set.
  var messageSignalled: Bool {
    messageControl.map { bytes[$0 + 1] & 0x80 != 0 } ?? false
  }

  /// Whether the function may do DMA.
  var busMaster: Bool {
    get { bytes[Self.command] & Self.busMasterBit != 0 }
    set {
      if newValue {
        bytes[Self.command] |= Self.busMasterBit
      } else {
        bytes[Self.command] &= ~Self.busMasterBit
      }
    }
  }

  /// Little-endian bytes; the caller has checked the bounds.
  func read(_ offset: Int, width: Int) -> UInt32 {
    (0..<width).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
  }

  /// Changes the bits that can be changed.
  mutating func write(_ offset: Int, width: Int, value: UInt32) {
    for index in 0..<width {
      let byte = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
      let mask = writable[offset + index]
      bytes[offset + index] = bytes[offset + index] & ~mask | byte & mask
    }
  }

  /// Where virtio's capabilities lie; the window's is the last. A legacy function has none.
  var virtioCapabilities: Range<Int> {
    windowOffset == 0 ? 0..<0 : 0x40..<windowOffset + VirtioCapabilityLayout.extendedLength
  }

  /// The fields of the window's capability that a driver may write.
  var windowFields: Range<Int> {
    windowOffset + VirtioCapabilityLayout.bar..<windowOffset + VirtioCapabilityLayout.extendedLength
  }

  /// The window that the PCI_CFG capability describes (virtio 1.2, 4.1.4.9), whether or not it lies
  /// in a BAR.
  var window: (bar: Int, offset: UInt64, width: Int) {
    (
      Int(bytes[windowOffset + VirtioCapabilityLayout.bar]),
      UInt64(read(windowOffset + VirtioCapabilityLayout.barOffset, width: 4)),
      Int(read(windowOffset + VirtioCapabilityLayout.byteCount, width: 4))
    )
  }

  /// Whether `offset` is in the window's data.
  func isWindowData(_ offset: Int) -> Bool {
    guard windowOffset != 0 else { return false }
    let start = windowOffset + VirtioCapabilityLayout.pciConfigData
    return offset >= start && offset < start + 4
  }
}
