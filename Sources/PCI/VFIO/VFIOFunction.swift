internal import CHostIO
internal import DMAPool
internal import Glibc

/// A PCI function that vfio-pci has: its registers, interrupts and reset by VFIO's device file, its
/// DMA by a container of its own.
///
/// Opening it gives it to this process alone; the kernel resets it when it is opened and closed.
final class VFIOFunction: PCIFunction {
  let name: String
  private let container: VFIOContainer
  private let device: HostFile
  private let registers: RegisterSpace
  private let interrupts: VFIOInterrupts
  private let config: VFIORegionInfo
  private let canReset: Bool
  private let lock: FunctionLock?

  private static let configRegion: UInt32 = 7

  init(_ facts: FunctionFacts) throws(PCIError) {
    name = facts.name
    lock = try Self.lock(facts)
    let container = try VFIOContainer(facts)
    do throws(FailedCall) {
      let device = try container.device()
      var flags: UInt32 = 0
      guard unsafe chio_vfio_device_flags(device.descriptor, &flags) == 0 else {
        throw FailedCall("VFIO_DEVICE_GET_INFO", facts.name)
      }
      canReset = flags & UInt32(VFIO_DEVICE_FLAGS_RESET) != 0
      config = try Self.regionInfo(Self.configRegion, device)
      interrupts = try VFIOInterrupts(device)
      self.device = device
    } catch {
      container.close()
      throw VFIOOpening(facts, group: facts.group ?? "").failure(error)
    }
    do throws(PCIError) {
      registers = RegisterSpace(try Self.regions(device))
    } catch {
      device.close()
      container.close()
      throw error
    }
    self.container = container
    // As the bus has it after a reset: no DMA before it is asked for.
    try setBusMaster(false)
  }

  deinit { close() }

  /// The kernel gives a group to one process; the lock adds who that is, and that nobody binds the
  /// function meanwhile. A user without the right to it does without.
  private static func lock(_ facts: FunctionFacts) throws(PCIError) -> FunctionLock? {
    do throws(PCIError) {
      return try FunctionLock.take(facts.address, roots: facts.roots)
    } catch {
      if error.code == .permission { return nil }
      throw error
    }
  }

  private static func regionInfo(
    _ index: UInt32, _ device: HostFile
  ) throws(FailedCall) -> VFIORegionInfo {
    let reply = unsafe VFIOReply.ask(
      byteCount: VFIORegionInfo.byteCountOfReply, prepare: { $0.store(index, at: 8) },
      call: { bytes in unsafe chio_vfio_region_info(device.descriptor, bytes) })
    guard let reply else { throw FailedCall("VFIO_DEVICE_GET_REGION_INFO", "\(index)") }
    return VFIORegionInfo(reply)
  }

  /// The six BARs: what can be mapped is, the rest is reached by the device's file.
  private static func regions(_ device: HostFile) throws(PCIError) -> [RegisterSpace.Region] {
    var regions: [RegisterSpace.Region] = []
    for index in 0..<6 {
      // A BAR that isn't there has size 0, or is refused by some kernels.
      guard let info = try? regionInfo(UInt32(index), device), info.byteCount > 0 else {
        regions.append(RegisterSpace.Region())
        continue
      }
      var region = RegisterSpace.Region(
        byteCount: info.byteCount, file: (device, info.fileOffset))
      for part in info.mappable {
        guard let area = try map(part, info, device) else { continue }
        region.areas.append(area)
      }
      region.way =
        region.areas.isEmpty ? "by calls of VFIO" : "mapped from VFIO's device file"
      regions.append(region)
    }
    return regions
  }

  /// A part that the kernel will not map is reached by calls.
  private static func map(
    _ part: Range<UInt64>, _ info: VFIORegionInfo, _ device: HostFile
  ) throws(PCIError) -> RegisterSpace.Area? {
    let count = Int(part.upperBound - part.lowerBound)
    guard let position = off_t(exactly: info.fileOffset + part.lowerBound),
      let start = unsafe mmap(
        nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, device.descriptor, position),
      unsafe start != MAP_FAILED
    else { return nil }
    return try unsafe RegisterSpace.Area(
      offset: part.lowerBound, byteCount: count, start: start)
  }

  // MARK: PCIFunction

  var dma: any DMAMapper { container }
  var configByteCount: Int { Int(clamping: config.byteCount) }
  var regions: [PCIRegion] { registers.described }
  var interruptVectorCount: Int { interrupts.vectorCount }
  var departure: PCIDeparture? { interrupts.departure }

  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32 {
    try checkConfig(offset, width)
    guard let value = device.read(at: config.fileOffset + UInt64(offset), width: width) else {
      throw gone("configuration space at \(offset)")
    }
    return value
  }

  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError) {
    try checkConfig(offset, width)
    guard device.write(at: config.fileOffset + UInt64(offset), width: width, value: value) else {
      throw gone("configuration space at \(offset)")
    }
  }

  func regionByteCount(_ region: Int) -> UInt64 { registers.byteCount(region) }

  func read(region: Int, offset: UInt64, width: Int) -> UInt32 {
    registers.read(region, offset, width)
  }

  func write(region: Int, offset: UInt64, width: Int, value: UInt32) {
    registers.write(region, offset, width, value)
  }

  func mapped(region: Int, offset: UInt64, count: Int) -> UnsafeMutableRawPointer? {
    unsafe registers.mapped(region, offset, count)
  }

  func setInterrupt(vector: Int, eventfd: CInt?) throws(PCIError) {
    try interrupts.set(vector, eventfd, of: name)
  }

  var hasInterruptLine: Bool { interrupts.hasLine }

  func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    try interrupts.setLine(eventfd, of: name)
  }

  func unmaskInterruptLine() { interrupts.unmaskLine() }

  func setBusMaster(_ enabled: Bool) throws(PCIError) {
    try writeBusMaster(enabled)
  }

  func reset() throws(PCIError) {
    guard canReset else {
      throw PCIError(
        .unsupported, "\(name) can't be reset by itself",
        remedy: "QEMU: put it behind a pcie-root-port")
    }
    guard chio_vfio_reset(device.descriptor) == 0 else {
      let failed = FailedCall("VFIO_DEVICE_RESET", name)
      throw PCIError(
        failed.code == EAGAIN ? .busy : .system, "\(failed)", remedy: "try again, or see dmesg")
    }
  }

  func close() {
    guard device.descriptor >= 0 else { return }
    // Gone already, or DMA is off: the kernel resets the function after this in any case.
    try? setBusMaster(false)
    interrupts.close()
    registers.close()
    device.close()
    container.close()
    lock?.release()
  }

  private func gone(_ what: String) -> PCIError {
    PCIError(
      .removed, "\(name): \(what) can't be reached (\(FailedCall("pread or pwrite", name)))",
      remedy: "see that it is still there: `vblk list`")
  }
}
