internal import PCI
internal import VBlk

/// A function as a virtio-blk device, as far as can be told without driving it.
struct VirtioFunction {
  let node: FunctionNode

  init(_ node: FunctionNode) { self.node = node }

  /// ACCESS_PLATFORM, bit 33: the device's DMA goes through the IOMMU.
  private static let accessPlatform = 33

  /// Whether the device's DMA goes through the IOMMU; nil where the kernel's driver doesn't have
  /// it, and so can't be asked. (That driver accepts the bit wherever it's offered.)
  var obeysIOMMU: Bool? {
    get throws(PCIError) {
      for name in try node.names("") where name.hasPrefix("virtio") {
        guard let bits = try node.word("\(name)/features"), bits.utf8.count >= 64 else { continue }
        // A device without VERSION_1 has not been negotiated with yet, or by nobody modern.
        return Array(bits.utf8)[Self.accessPlatform] == UInt8(ascii: "1")
      }
      return nil
    }
  }

  /// Refuses what isn't there, and what is none.
  func isBlockDevice() throws(PCIError) {
    try BindRails(node).exists()
    let identity = try node.identity
    guard identity.isVirtioBlock else {
      throw PCIError(
        .unsupported,
        "\(node.address) is \(Self.hex(identity.vendor)):\(Self.hex(identity.device)), no "
          + "virtio-blk function (1af4:1042 or 1af4:1001)", remedy: "see `vblk list`")
    }
  }

  /// Refuses what this driver can't drive through `driver`.
  func isDrivable(through driver: UserDriver) throws(PCIError) {
    guard try node.identity.interface != .legacyOnly else { throw legacyOnly }
    guard let group = try node.iommuGroup, !group.isNoIOMMU, let obeysIOMMU = try obeysIOMMU else {
      return
    }
    switch (driver, obeysIOMMU) {
    case (.vfio, false): throw bypassesIOMMU
    case (.uio, true) where group.domain != "identity": throw translated(group)
    default: break
    }
  }

  /// D14.
  var legacyOnly: PCIError {
    PCIError(
      .unsupported,
      "\(node.address) is a legacy virtio device: it has no virtio capabilities (D14)",
      remedy: "QEMU: disable-legacy=on,disable-modern=off")
  }

  /// D03.
  var bypassesIOMMU: PCIError {
    PCIError(
      .unsupported,
      "\(node.address) is behind an IOMMU and doesn't offer ACCESS_PLATFORM: the device ignores "
        + "the IOMMU; IOVAs would be used as physical addresses (D03)",
      remedy: "QEMU: iommu_platform=on,disable-legacy=on; else --driver uio_pci_generic")
  }

  private func translated(_ group: IOMMUGroup) -> PCIError {
    PCIError(
      .unsupported,
      "\(node.address) is behind an IOMMU (group \(group.number), domain "
        + "\(group.domain ?? "unknown")), and UIO gives it physical addresses",
      remedy: "use --driver vfio-pci")
  }

  static func hex(_ value: UInt16) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 4 - digits.count) + digits
  }
}
