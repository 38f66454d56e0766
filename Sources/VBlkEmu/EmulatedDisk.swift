@_exported public import DMAPool
@_exported public import PCI
internal import Synchronization
internal import Virtio

/// A virtio-blk disk emulated in this process: a whole PCI function, with its IOMMU (virtio 1.2).
///
/// A driver drives ``function`` as it would a real one. Whatever the driver writes is copied once,
/// checked, and only then used: a violation breaks the queue and is named in ``violations``; it never
/// ends the process. Calls may come from any thread.
public final class EmulatedDisk: Sendable {
  let core: DeviceCore
  private let device: EmulatedFunction

  /// What the disk was made as.
  public let configuration: Configuration

  /// Makes a disk.
  ///
  /// - Throws: ``EmulatorError`` for a configuration that no disk can have, and for an image that is
  ///   missing, unreadable, empty or no whole number of blocks.
  public init(_ configuration: Configuration) throws(EmulatorError) {
    try configuration.check()
    self.configuration = configuration
    let (store, byteCount) = try Store.open(configuration)
    core = DeviceCore(
      configuration, store: store, capacitySectors: byteCount >> Sector.shift, doorbell: nil)
    let iommu = EmulatedIOMMU(core: core, ranges: configuration.addressRanges)
    device = EmulatedFunction(core: core, iommu: iommu)
  }

  /// The disk as the bus shows it.
  public var function: any PCIFunction { device }
}

extension EmulatedDisk {
  /// The rules that the driver broke, registers first, then queue by queue; the first 256 of each.
  public var violations: [Violation] {
    var all = core.registers.withLock { $0.violations }
    core.forEachQueue { all += $0.reports.violations }
    return all
  }

  /// The DMA accesses that the emulated IOMMU refused, queue by queue; the first 256 of each.
  public var dmaFaults: [DMAFault] {
    var all: [DMAFault] = []
    core.forEachQueue { all += $0.reports.dmaFaults }
    return all
  }

  /// What queue `queue` has done.
  public func counters(queue: Int) -> QueueCounters { core.withQueue(queue) { $0.counters } }
}
