internal import Synchronization
internal import Virtio

/// The common configuration (virtio 1.2, 4.1.4.3): each register at its own width, 64-bit ones as
/// two halves.
extension DeviceCore {
  /// What a register reads; nil where there is none of that width.
  func readCommon(_ offset: UInt64, _ width: Int, _ file: inout RegisterFile) -> UInt32? {
    switch (offset, width) {
    case (CommonConfig.deviceFeatureSelect, 4): return file.deviceFeatureSelect
    case (CommonConfig.deviceFeature, 4): return file.deviceFeature()
    case (CommonConfig.driverFeatureSelect, 4): return file.driverFeatureSelect
    case (CommonConfig.driverFeature, 4):
      guard file.driverFeatureSelect < 2 else { return 0 }
      return UInt32(
        truncatingIfNeeded: file.driverFeatures >> UInt64(32 * file.driverFeatureSelect))
    case (CommonConfig.configVector, 2): return UInt32(signals.configVector)
    case (CommonConfig.queueCount, 2): return UInt32(queueCount)
    case (CommonConfig.deviceStatus, 1): return UInt32(readStatus(file))
    case (CommonConfig.configGeneration, 1):
      if file.defects.contains(.generationStuck) { return 0 }
      if file.hostility.contains(.generationStorm) { signals.advanceGeneration() }
      return UInt32(signals.generation)
    case (CommonConfig.queueSelect, 2): return UInt32(file.queueSelect)
    default: return readQueueRegister(offset, width, &file)
    }
  }

  private func readStatus(_ file: RegisterFile) -> UInt8 {
    let status = signals.status.rawValue
    if status == 0, file.hostility.contains(.resetNeverEnds), wasUsed.load(ordering: .relaxed) {
      return DeviceStatus.acknowledge.rawValue
    }
    return status
  }

  /// Registers of the selected queue; a select beyond the queues reads 0 and no vector.
  private func readQueueRegister(
    _ offset: UInt64, _ width: Int, _ file: inout RegisterFile
  ) -> UInt32? {
    let register = file.selected.map { file.queues[$0] }
    switch (offset, width) {
    case (CommonConfig.queueSize, 2): return UInt32(shownSize(register, file.hostility))
    case (CommonConfig.queueVector, 2): return UInt32(register?.vector ?? VirtioPCI.noVector)
    case (CommonConfig.queueEnable, 2): return register?.enabled == true ? 1 : 0
    case (CommonConfig.queueNotifyOffset, 2):
      if file.hostility.contains(.notifyOffsetOutOfRange) { return 0xFFF0 }
      return register == nil ? 0 : UInt32(file.queueSelect)
    case (_, 4) where offset % 8 == 4 && file.defects.contains(.highHalvesZero): return 0
    case (CommonConfig.queueDescriptors, 4): return low(register?.areas.descriptors)
    case (CommonConfig.queueDescriptors + 4, 4): return high(register?.areas.descriptors)
    case (CommonConfig.queueDriver, 4): return low(register?.areas.driver)
    case (CommonConfig.queueDriver + 4, 4): return high(register?.areas.driver)
    case (CommonConfig.queueDevice, 4): return low(register?.areas.device)
    case (CommonConfig.queueDevice + 4, 4): return high(register?.areas.device)
    case (CommonConfig.queueNotifyData, 2) where file.offered.contains(.notificationConfigData):
      return register == nil ? 0 : UInt32(notificationData(Int(file.queueSelect)))
    case (CommonConfig.queueReset, 2) where file.offered.contains(.ringReset):
      let isStuck = file.hostility.contains(.queueResetNeverEnds)
      return isStuck && register?.wasReset == true ? 1 : 0
    default: return nil
    }
  }

  private func shownSize(_ register: RegisterFile.Queue?, _ hostility: Hostility) -> UInt16 {
    guard let register else { return 0 }
    if hostility.contains(.queueSizeZero) { return 0 }
    if hostility.contains(.queueSizeOdd) { return max(register.size, 4) - 1 }
    if hostility.contains(.queueSizeHuge) { return .max }
    return register.size
  }

  private func low(_ value: UInt64?) -> UInt32 { UInt32(truncatingIfNeeded: value ?? 0) }
  private func high(_ value: UInt64?) -> UInt32 { UInt32(truncatingIfNeeded: (value ?? 0) >> 32) }

  /// Takes a write.
  ///
  /// - Returns: Whether queues are to be served now, because DRIVER_OK was set.
  func writeCommon(
    _ offset: UInt64, _ width: Int, _ value: UInt32, _ file: inout RegisterFile
  ) -> Bool {
    switch (offset, width) {
    case (CommonConfig.deviceFeatureSelect, 4): file.deviceFeatureSelect = value
    case (CommonConfig.driverFeatureSelect, 4): file.driverFeatureSelect = value
    case (CommonConfig.driverFeature, 4): writeFeatures(value, &file)
    case (CommonConfig.configVector, 2):
      signals.configVector = vector(value, at: offset, &file)
    case (CommonConfig.deviceStatus, 1):
      return writeStatus(DeviceStatus(rawValue: UInt8(truncatingIfNeeded: value)), &file)
    case (CommonConfig.queueSelect, 2): file.queueSelect = UInt16(truncatingIfNeeded: value)
    case (CommonConfig.deviceFeature, 4), (CommonConfig.queueCount, 2),
      (CommonConfig.configGeneration, 1), (CommonConfig.queueNotifyOffset, 2),
      (CommonConfig.queueNotifyData, 2):
      file.report(.readOnlyRegister, at: offset, value: UInt64(value))
    default: writeQueueRegister(offset, width, value, &file)
    }
    return false
  }

  /// The features that the driver wants, until FEATURES_OK (virtio 1.2, 3.1.1).
  private func writeFeatures(_ value: UInt32, _ file: inout RegisterFile) {
    guard !signals.status.contains(.featuresOK) else {
      file.report(
        .featuresAfterNegotiation, at: CommonConfig.driverFeature, value: UInt64(value))
      return
    }
    guard file.driverFeatureSelect < 2 else { return }
    let shift = UInt64(32 * file.driverFeatureSelect)
    file.driverFeatures = file.driverFeatures & ~(0xFFFF_FFFF << shift) | UInt64(value) << shift
  }

  /// A vector that exists, or none (virtio 1.2, 4.1.5.1.2).
  private func vector(_ value: UInt32, at offset: UInt64, _ file: inout RegisterFile) -> UInt16 {
    let wanted = UInt16(truncatingIfNeeded: value)
    if Int(wanted) < signals.vectorCount || wanted == VirtioPCI.noVector { return wanted }
    if file.defects.contains(.vectorsUnchecked) { return wanted }
    file.report(.vectorOutOfRange, at: offset, value: UInt64(value))
    return VirtioPCI.noVector
  }

  private func writeQueueRegister(
    _ offset: UInt64, _ width: Int, _ value: UInt32, _ file: inout RegisterFile
  ) {
    let isShort = offset < CommonConfig.queueDescriptors || offset >= CommonConfig.queueNotifyData
    guard width == (isShort ? 2 : 4),
      offset >= CommonConfig.queueSize, offset % UInt64(width) == 0,
      offset < UInt64(VirtioPCI.commonConfigMinimum) || offset == CommonConfig.queueReset,
      offset != CommonConfig.queueReset || width == 2
    else {
      file.report(.registerAccess, at: offset, value: UInt64(value))
      return
    }
    guard let queue = file.selected else {
      file.report(.queueSelectOutOfRange, at: offset, value: UInt64(file.queueSelect))
      return
    }
    if offset == CommonConfig.queueReset { return writeReset(queue, value, &file) }
    guard !file.queues[queue].enabled || offset == CommonConfig.queueEnable else {
      file.report(.registerAfterEnable, queue: queue, at: offset, value: UInt64(value))
      return
    }
    switch offset {
    case CommonConfig.queueSize: writeSize(queue, value, &file)
    case CommonConfig.queueVector:
      file.queues[queue].vector = vector(value, at: offset, &file)
    case CommonConfig.queueEnable: writeEnable(queue, value, &file)
    default: writeArea(queue, offset, value, &file)
    }
  }

  private func writeArea(
    _ queue: Int, _ offset: UInt64, _ value: UInt32, _ file: inout RegisterFile
  ) {
    func merge(_ area: inout UInt64) {
      let shift: UInt64 = offset % 8 == 0 ? 0 : 32
      area = area & ~(0xFFFF_FFFF << shift) | UInt64(value) << shift
    }
    switch offset & ~7 {
    case CommonConfig.queueDescriptors: merge(&file.queues[queue].areas.descriptors)
    case CommonConfig.queueDriver: merge(&file.queues[queue].areas.driver)
    default: merge(&file.queues[queue].areas.device)
    }
  }

  /// A size that a ring of the negotiated format may have and that is not more than ours (virtio
  /// 1.2, 4.1.5.1.3).
  private func writeSize(_ queue: Int, _ value: UInt32, _ file: inout RegisterFile) {
    guard QueueAreas.isLegal(size: Int(value), packed: file.isPacked),
      value <= UInt32(file.maximumSize)
    else {
      file.report(
        .queueSizeInvalid, queue: queue, at: CommonConfig.queueSize, value: UInt64(value))
      return
    }
    if file.hostility.contains(.queueSizeIgnored) { return }
    file.queues[queue].size = UInt16(value)
  }

  /// Resets one queue (virtio 1.2, 4.1.4.3.1): when the register reads 0 again nothing of it is in
  /// flight and its registers are as they were, for another set-up.
  private func writeReset(_ queue: Int, _ value: UInt32, _ file: inout RegisterFile) {
    guard file.negotiated.contains(.ringReset), value == 1 else {
      file.report(
        .queueResetInvalid, queue: queue, at: CommonConfig.queueReset, value: UInt64(value))
      return
    }
    queues.withQueue(queue) { $0.resetRing() }
    file.resetQueue(queue)
    file.queues[queue].wasReset = true
  }

  /// Takes the queue's set-up over, once; what can't be a queue breaks the device instead.
  private func writeEnable(_ queue: Int, _ value: UInt32, _ file: inout RegisterFile) {
    let offset = CommonConfig.queueEnable
    guard value == 1 else {
      file.report(.queueDisabled, queue: queue, at: offset, value: UInt64(value))
      return
    }
    guard !file.queues[queue].enabled else {
      file.report(.registerAfterEnable, queue: queue, at: offset, value: UInt64(value))
      return
    }
    let set = file.queues[queue]
    let refusal = queues.withQueue(queue) {
      $0.enable(
        size: Int(set.size), packed: file.isPacked, areas: set.areas, vector: set.vector)
    }
    if let refusal {
      file.report(refusal.reason, queue: queue, at: offset, value: refusal.value, .queueBroken)
      signals.add(.needsReset)
      if signals.status.contains(.driverOK) { signals.raiseConfiguration() }
      return
    }
    file.queues[queue].enabled = true
    updateLive(file)
  }
}
