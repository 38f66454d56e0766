internal import Virtio

/// What the driver wrote to the registers, and what they read; under one lock.
struct RegisterFile {
  /// The registers of one queue.
  struct Queue {
    var size: UInt16
    var vector = VirtioPCI.noVector
    var enabled = false
    var wasReset = false
    var areas = QueueAreas()
  }

  var deviceFeatureSelect: UInt32 = 0
  var driverFeatureSelect: UInt32 = 0
  var driverFeatures: UInt64 = 0
  var negotiated: Features = []
  var queueSelect: UInt16 = 0
  var queues: [Queue]
  var device: BlockConfiguration
  var space: ConfigSpace
  let initialWriteback: Bool
  let zones: ZoneGeometry?
  let maximumSize: UInt16
  var offered: Features
  var hostility: Hostility
  let defects: Defects
  var featureReads: UInt32 = 0
  /// Rules that the driver broke at the registers.
  var violations: [Violation] = []
  var violationCount: UInt64 = 0
  var watchdog: Watchdog?

  init(
    _ configuration: EmulatedDisk.Configuration, capacitySectors: UInt64, zones: ZoneGeometry?
  ) {
    self.zones = zones
    maximumSize = UInt16(configuration.queueSize)
    queues = Array(repeating: Queue(size: maximumSize), count: configuration.queues)
    device = BlockConfiguration(
      configuration, capacitySectors: capacitySectors, zones: zones)
    space = ConfigSpace(configuration, deviceByteCount: device.bytes.count)
    initialWriteback = configuration.writeback
    offered = configuration.offered
    hostility = configuration.hostility
    defects = configuration.defects
  }

  /// A queue's registers before the driver has written any; sizes that split rings can't have go
  /// down to those they can, once the format is known.
  private var freshQueue: Queue {
    var queue = Queue(size: maximumSize)
    if negotiated.isEmpty || isPacked { return queue }
    while queue.size & (queue.size - 1) != 0 { queue.size &= queue.size - 1 }
    return queue
  }

  /// Puts the registers of one queue back (virtio 1.2, 4.1.4.3.1).
  mutating func resetQueue(_ index: Int) { queues[index] = freshQueue }

  /// Whether queues are packed rings.
  var isPacked: Bool { negotiated.contains(.ringPacked) }

  /// Takes over what was negotiated.
  mutating func settle() {
    negotiated = Features(rawValue: driverFeatures)
    if !negotiated.contains(.zoned), !defects.contains(.zonedFieldsKept) { device.setZones(nil) }
    if isPacked { return }
    for index in queues.indices {
      queues[index].size = min(queues[index].size, freshQueue.size)
    }
  }

  /// Back to what a driver finds (virtio 1.2, 2.4): all but the bus's own registers.
  mutating func reset() {
    deviceFeatureSelect = 0
    driverFeatureSelect = 0
    driverFeatures = 0
    negotiated = []
    queueSelect = 0
    queues = Array(repeating: Queue(size: maximumSize), count: queues.count)
    if offered.contains(.configWriteCache) { device.writeback = initialWriteback }
    if offered.contains(.zoned) { device.setZones(zones) }
  }

  /// Notes a violation without consequence but that the access had none.
  mutating func report(
    _ reason: Violation.Reason, queue: Int? = nil, at position: UInt64, value: UInt64,
    _ consequence: Violation.Consequence = .ignored
  ) {
    violationCount += 1
    watchdog?.note(reason, queue: queue, at: position, value: value, packed: isPacked)
    guard violations.count < Limits.keptReports else { return }
    violations.append(
      Violation(
        reason: reason, consequence: consequence, queue: queue, position: position, value: value))
  }

  /// The selected queue, or nil.
  var selected: Int? { Int(queueSelect) < queues.count ? Int(queueSelect) : nil }

  /// 32 of the offered features (virtio 1.2, 4.1.4.3).
  mutating func deviceFeature() -> UInt32 {
    guard deviceFeatureSelect < 2 else { return 0 }
    let half = UInt32(truncatingIfNeeded: offered.rawValue >> UInt64(32 * deviceFeatureSelect))
    guard hostility.contains(.featuresChange), deviceFeatureSelect == 0 else { return half }
    featureReads &+= 1
    return featureReads & 1 == 0 ? half : half & ~0x7000_7E46
  }

  /// Whether the driver's choice can be worked with: a subset, modern, behind our IOMMU.
  var isChoiceValid: Bool {
    if defects.contains(.choiceUnchecked) { return true }
    let choice = Features(rawValue: driverFeatures)
    guard offered.isSuperset(of: choice) else { return false }
    if offered.contains(.version1), !choice.contains(.version1) { return false }
    if offered.contains(.accessPlatform), !choice.contains(.accessPlatform) { return false }
    // A host-managed disk is nothing for a driver that doesn't know zones (virtio 1.3, 5.2.5.2).
    if zones?.model == .hostManaged, !choice.contains(.zoned) { return false }
    return !hostility.contains(.refusesFeatures)
  }
}
