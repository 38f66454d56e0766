internal import Synchronization
internal import Virtio

/// The device status (virtio 1.2, 2.1 and 3.1.1) and resets.
extension DeviceCore {
  /// Takes a write of the status register.
  ///
  /// - Returns: Whether queues are to be served now, because DRIVER_OK was set.
  func writeStatus(_ wanted: DeviceStatus, _ file: inout RegisterFile) -> Bool {
    let offset = CommonConfig.deviceStatus
    let value = UInt64(wanted.rawValue)
    guard !wanted.isEmpty else {
      reset(&file)
      return false
    }
    wasUsed.store(true, ordering: .relaxed)
    let status = signals.status
    guard wanted.isSuperset(of: status.subtracting(.needsReset)) else {
      file.report(.statusBitCleared, at: offset, value: value)
      return false
    }
    var added = wanted.subtracting(status)
    var drivers: DeviceStatus = [.acknowledge, .driver, .featuresOK, .driverOK, .failed]
    if file.negotiated.contains(.suspend) { drivers.insert(.suspend) }
    if !drivers.isSuperset(of: added) {
      file.report(.statusBitReserved, at: offset, value: value)
      added.formIntersection(drivers)
    }
    signals.add(added.intersection([.acknowledge, .driver, .failed]))
    if added.contains(.featuresOK) { negotiate(&file, value) }
    if added.contains(.driverOK) { return start(&file, value) }
    if added.contains(.suspend) { suspend(file) }
    if added.contains(.failed) { updateLive(file) }
    return false
  }

  /// FEATURES_OK: agrees to the driver's choice, or leaves the bit clear (virtio 1.2, 2.2.2).
  private func negotiate(_ file: inout RegisterFile, _ value: UInt64) {
    guard signals.status.isSuperset(of: [.acknowledge, .driver]) else {
      file.report(.statusStepSkipped, at: CommonConfig.deviceStatus, value: value)
      return
    }
    if file.hostility.contains(.needsResetEarly) { signals.add(.needsReset) }
    let choice = Features(rawValue: file.driverFeatures)
    watchdog?.didChoose(choice, queues: file.device.queueCount(choice))
    guard file.isChoiceValid else {
      file.report(
        .featuresRefused, at: CommonConfig.deviceStatus, value: file.driverFeatures)
      return
    }
    file.settle()
    // CONFIG_WCE without FLUSH starts as write-through (virtio 1.2, 5.2.5.2).
    if file.negotiated.contains(.configWriteCache), !file.negotiated.contains(.flush),
      !file.defects.contains(.writebackKept)
    {
      file.device.writeback = false
    }
    signals.add(.featuresOK)
    kickFormat.store(KickFormat(file.negotiated).rawValue, ordering: .releasing)
    applyFeatures(file)
  }

  /// Hands what was negotiated to the queues.
  func applyFeatures(_ file: RegisterFile) {
    let features = file.negotiated
    let cached = file.device.writeback
    queues.forEachQueue { queue in
      queue.features = features
      queue.eventIndex = features.contains(.eventIndex)
      queue.indirect = features.contains(.indirectDescriptors)
      queue.inOrder = features.contains(.inOrder)
      queue.merges = queue.inOrder && queue.mayMerge
      if queue.ringsMapped, queue.isPacked != file.isPacked {
        queue.breakQueue(.queueEnabledTooEarly, at: UInt64(queue.index), value: features.rawValue)
      }
      queue.watch?.limits = ShownLimits(file.device, features)
      queue.watch?.capacitySectors = file.device.capacitySectors
      queue.setWriteThrough(
        features.contains(.configWriteCache) ? !cached : !features.contains(.flush))
    }
  }

  /// DRIVER_OK: from here on the queues are served.
  private func start(_ file: inout RegisterFile, _ value: UInt64) -> Bool {
    let offset = CommonConfig.deviceStatus
    guard signals.status.isSuperset(of: [.acknowledge, .driver, .featuresOK]) else {
      file.report(.statusStepSkipped, at: offset, value: value)
      return false
    }
    signals.add(.driverOK)
    signals.remove(.suspend)
    updateLive(file)
    signals.raiseDeferred()
    return true
  }

  /// SUSPEND (virtio 1.4, 2.1.2): what is available is used first, then no ring is touched and
  /// nothing is told until DRIVER_OK is set again. Before the device runs it has no effect.
  private func suspend(_ file: RegisterFile) {
    guard signals.status.contains(.driverOK) else { return }
    queues.forEachQueue { queue in
      if mode != .stepped { queue.serve() }
      queue.live = false
    }
    signals.add(.suspend)
    signals.remove(.driverOK)
    updateLive(file)
  }

  /// Says for each queue whether it may take requests.
  func updateLive(_ file: RegisterFile) {
    let status = signals.status
    let defects = file.defects
    let ready =
      status.contains(.driverOK) || defects.contains(.servesEarly)
      || status.contains(.suspend) && defects.contains(.suspendIgnored)
    let running =
      ready && !status.contains(.failed) && file.space.busMaster && !signals.removed
    for index in 0..<queueCount {
      let live = running && file.queues[index].enabled
      queues.withQueue(index) { $0.live = live && !$0.broken }
    }
  }

  /// Everything back to the start; the status reads 0 only when no queue touches memory any more
  /// (virtio 1.2, 2.4.1).
  func reset(_ file: inout RegisterFile) {
    queues.forEachQueue { $0.reset() }
    file.reset()
    kickFormat.store(0, ordering: .releasing)
    signals.forgetDeferred()
    signals.configVector = VirtioPCI.noVector
    signals.clearInterruptStatus()
    signals.resetStatus()
  }
}
