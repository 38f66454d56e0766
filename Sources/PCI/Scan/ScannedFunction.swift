/// One virtio-blk function of a machine, as ``PCIScan`` found it.
public struct ScannedFunction: Sendable, Equatable {
  /// What the bus says of it.
  public let identity: PCIIdentity
  /// The kernel driver that is bound to it: "virtio-pci", "vfio-pci"; nil for none.
  public let kernelDriver: String?
  /// Its IOMMU group; nil where no IOMMU is active.
  public let iommuGroup: Int?
  /// The NUMA node that it's near to; nil where the machine has only one or doesn't say.
  public let numaNode: Int?
  /// The block device that the kernel has made of it: "vda".
  public let blockNode: String?
  /// The size of that device.
  public let byteCount: UInt64?
  /// Whether that device is in use, and why.
  public let use: DiskUse
}
