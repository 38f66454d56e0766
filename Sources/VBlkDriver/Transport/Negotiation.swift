import DMAPool
import Virtio

/// What the driver and a device agree on, from reset to FEATURES_OK (virtio 1.2, 3.1).
struct Negotiation {
  let offered: Features
  let accepted: Features
  let config: BlockConfigSnapshot
  let limits: QueueLimits
  let hasVolatileCache: Bool

  /// Everything that this driver knows how to use.
  static let supported: Features = [
    .sizeMax, .segMax, .readOnly, .blockSize, .flush, .topology, .configWriteCache, .multiQueue,
    .discard, .writeZeroes, .indirectDescriptors, .eventIndex, .version1, .accessPlatform,
    .ringPacked, .inOrder, .lifetime, .secureErase, .zoned,
    .ringReset, .notificationData,
    .notificationConfigData, .orderPlatform, .suspend,
  ]

  /// Resets the device, agrees on features, and reads the configuration.
  ///
  /// - Throws: ``VBlkError`` `.deviceUnavailable`; the device is left with FAILED set.
  init(_ transport: VirtioPCITransport, declining declined: Features) throws(VBlkError) {
    let name = transport.function.name
    guard transport.resetDevice() else {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) does not confirm a reset: its status reads \(transport.status.rawValue)",
        remedy: "the device is stuck or gone; power-cycle it or restart the VM")
    }
    transport.addStatus(.acknowledge)
    transport.addStatus(.driver)
    let offered = transport.offeredFeatures()
    var accepted = offered.intersection(Self.supported).intersection(transport.usable)
      .subtracting(declined).withoutOrphans
    try Self.check(offered, accepted, transport)
    let isHostManaged = Self.isHostManaged(offered, transport)
    if isHostManaged { accepted.remove(.discard) }
    guard !isHostManaged || accepted.contains(.zoned) else {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) is a host-managed zoned device, and ZONED was declined (virtio 1.3, 5.2.5.1)",
        remedy: "accept ZONED: such a device takes no writes in any order")
    }
    transport.accept(accepted)
    transport.addStatus(.featuresOK)
    guard transport.status.contains(.featuresOK) else {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) refuses the features \(accepted.described.joined(separator: " ")) "
          + "(virtio 1.2, 2.2.2)",
        remedy: "accept more of what it offers: \(offered.described.joined(separator: " "))")
    }
    let config = try BlockConfigSnapshot(transport, features: accepted)
    guard config.capacity <= UInt64(Int.max) >> Sector.shift else {
      throw VBlkError(
        .deviceUnavailable, "\(name) says that it has \(config.capacity) sectors",
        remedy: "the device is faulty: that is more bytes than 63 bits count")
    }
    self.offered = offered
    self.accepted = accepted
    self.config = config
    transport.settle(accepted)
    limits = try QueueLimits(config: config, features: accepted)
    guard limits.isHostManaged == isHostManaged else {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) changed its zoned model to \(config.zonedModel) at FEATURES_OK",
        remedy: "the device is faulty")
    }
    // Without FLUSH the cache is write-through; with it and no switch, take it for write-back.
    hasVolatileCache =
      accepted.contains(.flush)
      && (!accepted.contains(.configWriteCache) || config.writeback != 0)
  }

  /// Whether the device is a host-managed zoned one, of which DISCARD must not be accepted (1.3,
  /// 5.2.5.1). The field may be read early, because the feature is offered (virtio 1.2, 3.1.1).
  private static func isHostManaged(
    _ offered: Features, _ transport: VirtioPCITransport
  ) -> Bool {
    guard offered.contains(.zoned), transport.configByteCount > BlockConfigLayout.zonedModel else {
      return false
    }
    let model = transport.configField(BlockConfigLayout.zonedModel, width: 1)
    return model == UInt64(ZonedModel.hostManaged.rawValue)
  }

  private static func check(
    _ offered: Features, _ accepted: Features, _ transport: VirtioPCITransport
  ) throws(VBlkError) {
    let name = transport.function.name
    guard accepted.contains(.version1) else {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) does not offer VERSION_1 (virtio 1.2, 6.1): it is a legacy device",
        remedy: "give the VM a modern one (QEMU: disable-legacy=on,disable-modern=off)")
    }
    if case .translated = transport.function.dma.addressing, !accepted.contains(.accessPlatform) {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) is behind an IOMMU but does not offer ACCESS_PLATFORM (virtio 1.2, 6.1): it would "
          + "bypass the IOMMU",
        remedy: "QEMU: iommu_platform=on,disable-legacy=on")
    }
    if transport.function.isBehindIdleIOMMU, offered.contains(.accessPlatform) {
      throw VBlkError(
        .deviceUnavailable,
        "\(name) obeys an IOMMU, and without VFIO nobody maps memory for it there",
        remedy: "vblk bind \(name) --driver vfio-pci")
    }
  }

  /// Queues that the device has for requests: 1 without MQ (virtio 1.2, 5.2.5).
  func availableQueues(_ transport: VirtioPCITransport) throws(VBlkError) -> Int {
    let configured = accepted.contains(.multiQueue) ? Int(config.queueCount) : 1
    let available = min(configured, transport.queueCount)
    guard available > 0 else {
      throw VBlkError(
        .deviceUnavailable,
        "\(transport.function.name) has no queue (num_queues \(configured), common "
          + "\(transport.queueCount))",
        remedy: "the device is faulty")
    }
    return available
  }
}
