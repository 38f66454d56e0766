internal import DMAPool
internal import PCI
internal import Synchronization
internal import Virtio

/// The disk as a PCI function: configuration space, two regions, interrupts, reset.
///
/// No register can be mapped, so drivers ring by ``write(region:offset:width:value:)``; that path
/// is a comparison and a lock away from the ring.
final class EmulatedFunction: PCIFunction {
  let core: DeviceCore
  let iommu: EmulatedIOMMU

  init(core: DeviceCore, iommu: EmulatedIOMMU) {
    self.core = core
    self.iommu = iommu
  }

  var name: String { core.name }
  var dma: any DMAMapper { iommu }
  var configByteCount: Int { ConfigSpace.byteCount }
  var interruptVectorCount: Int { core.signals.vectorCount }

  func regionByteCount(_ region: Int) -> UInt64 {
    BARLayout.byteCount(region, vectors: core.signals.vectorCount)
  }

  var reachesRegions: Bool { core.reachesRegions }

  func mapped(region: Int, offset: UInt64, count: Int) -> UnsafeMutableRawPointer? { nil }

  func write(region: Int, offset: UInt64, width: Int, value: UInt32) {
    guard _fastPath(core.reachesRegions) else { return }
    let position = offset &- BARLayout.notify
    if _fastPath(region == BARLayout.virtioRegion), _fastPath(position < core.notifyByteCount),
      _fastPath(width == 2)
    {
      core.ring(position, value)
    } else if region == BARLayout.virtioRegion, position < core.notifyByteCount, width == 4,
      !core.signals.removed
    {
      core.ringNegotiated(position, value, width: 4)
    } else {
      core.writeRegister(region, offset, width, value)
    }
  }

  func read(region: Int, offset: UInt64, width: Int) -> UInt32 {
    core.reachesRegions
      ? core.readRegister(region, offset, width) : .max >> UInt32(32 - 8 * width)
  }

  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32 {
    try check(offset, width)
    if core.signals.removed { return .max >> UInt32(32 - 8 * width) }
    let (value, window) = core.registers.withLock { file in
      (file.space.read(offset, width: width), file.space.isWindowData(offset))
    }
    return window ? core.readWindow(width) : value
  }

  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError) {
    try check(offset, width)
    if core.signals.removed { return }
    core.watchdog?.willWriteSpace(offset, width, value)
    let window = core.registers.withLock { file in
      file.space.write(offset, width: width, value: value)
      core.signals.enabledInSpace = file.space.messageSignalled
      core.updateLive(file)
      return file.space.isWindowData(offset)
    }
    if window { core.writeWindow(value) }
  }

  private func check(_ offset: Int, _ width: Int) throws(PCIError) {
    guard width == 1 || width == 2 || width == 4, offset >= 0, offset % width == 0,
      offset + width <= ConfigSpace.byteCount
    else {
      throw PCIError(
        .outOfRange, "\(core.name): \(width) bytes of configuration space at \(offset)",
        remedy: "access 1, 2 or 4 bytes, aligned, below \(ConfigSpace.byteCount)")
    }
  }

  func setInterrupt(vector: Int, eventfd: CInt?) throws(PCIError) {
    guard (0..<core.signals.vectorCount).contains(vector) else {
      throw PCIError(
        .outOfRange, "\(core.name): vector \(vector) of \(core.signals.vectorCount)",
        remedy: "use a vector that the function has")
    }
    core.queues.withAllStopped {
      core.signals.setEventfd(vector, eventfd)
    }
  }

  var hasInterruptLine: Bool { true }

  func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    core.queues.withAllStopped {
      core.signals.setLine(eventfd)
    }
  }

  func unmaskInterruptLine() { core.signals.unmaskLine() }

  func setBusMaster(_ enabled: Bool) throws(PCIError) {
    core.registers.withLock { file in
      file.space.busMaster = enabled
      core.updateLive(file)
    }
  }

  func reset() throws(PCIError) {
    guard !core.signals.removed else {
      throw PCIError(.removed, "\(core.name) is gone", remedy: "open another device")
    }
    core.registers.withLock { core.reset(&$0) }
    core.watchdog?.didReset()
  }

  func close() {
    core.registers.withLock { core.reset(&$0) }
    core.watchdog?.didReset()
    core.queues.withAllStopped {
      for vector in 0..<core.signals.vectorCount { core.signals.setEventfd(vector, nil) }
      core.signals.setLine(nil)
    }
  }
}
