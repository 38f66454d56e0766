import PCI
import Virtio

/// Where a virtio structure lies: a stretch of a BAR, checked to be inside it.
struct RegisterBlock: Equatable {
  let region: Int
  let offset: UInt64
  let byteCount: UInt64
}

/// The virtio structures of a PCI function, found by walking its capabilities (virtio 1.2, 4.1.4).
///
/// Configuration space comes from the device, so nothing in it is believed: the walk is bounded,
/// and a capability that is too short, in a reserved BAR, or not wholly inside its BAR is passed
/// over. Of each kind the first usable one counts, which is the one that the device prefers.
struct VirtioCapabilities {
  private(set) var common: RegisterBlock?
  private(set) var notify: RegisterBlock?
  private(set) var notifyMultiplier: UInt32 = 0
  private(set) var isr: RegisterBlock?
  private(set) var device: RegisterBlock?
  /// Where the PCI_CFG capability is, where regions can't be reached otherwise.
  private(set) var window: Int?
  /// Whether any virtio capability was there at all, usable or not; a legacy device has none.
  private(set) var foundAny = false
  /// Why capabilities were passed over, for the error if one is missing.
  private(set) var passedOver: [String] = []

  init(of function: any PCIFunction) throws(PCIError) {
    let status = try function.readConfig(at: 0x06, width: 2)
    guard status & 0x10 != 0 else { return }
    var offset = Int(try function.readConfig(at: 0x34, width: 1)) & ~3
    for _ in 0..<Limits.capabilities {
      guard offset >= 0x40, offset + 4 <= 256 else { return }
      let head = try function.readConfig(at: offset, width: 4)
      if UInt8(truncatingIfNeeded: head) == VirtioPCI.vendorCapabilityID {
        foundAny = true
        try take(function, at: offset, head: head)
      }
      offset = Int(head >> 8 & 0xFF) & ~3
    }
    if offset != 0 { passedOver.append("the capability list does not end") }
  }

  private mutating func take(_ function: any PCIFunction, at offset: Int, head: UInt32)
    throws(PCIError)
  {
    let length = Int(head >> 16 & 0xFF)
    guard let type = VirtioCapabilityType(rawValue: UInt8(truncatingIfNeeded: head >> 24)),
      length >= VirtioCapabilityLayout.plainLength,
      offset + VirtioCapabilityLayout.plainLength <= 256
    else { return }
    let bar = Int(try function.readConfig(at: offset + VirtioCapabilityLayout.bar, width: 1))
    let start = UInt64(
      try function.readConfig(at: offset + VirtioCapabilityLayout.barOffset, width: 4))
    let count = UInt64(
      try function.readConfig(at: offset + VirtioCapabilityLayout.byteCount, width: 4))
    if type == .pciConfig, !function.reachesRegions, window == nil,
      length >= VirtioCapabilityLayout.extendedLength,
      offset + VirtioCapabilityLayout.extendedLength <= 256
    {
      window = offset
    }
    guard bar <= 5 else { return }
    guard type != .pciConfig, type != .vendor, type != .sharedMemory else { return }
    let room = function.regionByteCount(bar)
    guard count > 0, start + count <= room else {
      passedOver.append(
        "\(type) at BAR \(bar) + \(start), \(count) bytes, is outside the BAR's \(room) bytes")
      return
    }
    guard start & 3 == 0 || type == .isr || (type == .notify && start & 1 == 0) else {
      passedOver.append("\(type) at BAR \(bar) + \(start) is misaligned")
      return
    }
    let block = RegisterBlock(region: bar, offset: start, byteCount: count)
    switch type {
    case .commonConfig where common == nil:
      guard count >= UInt64(VirtioPCI.commonConfigMinimum) else {
        passedOver.append("\(type) has \(count) bytes, fewer than \(VirtioPCI.commonConfigMinimum)")
        return
      }
      common = block
    case .notify where notify == nil:
      guard length >= VirtioCapabilityLayout.extendedLength,
        offset + VirtioCapabilityLayout.extendedLength <= 256, count >= 2
      else { return }
      notify = block
      notifyMultiplier = try function.readConfig(
        at: offset + VirtioCapabilityLayout.notifyMultiplier, width: 4)
    case .isr where isr == nil: isr = block
    case .deviceConfig where device == nil: device = block
    default: break
    }
  }
}
