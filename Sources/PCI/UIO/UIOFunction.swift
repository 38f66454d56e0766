internal import DMAPool
internal import Glibc
internal import Synchronization

/// A PCI function that uio_pci_generic has, or no kernel driver: registers mapped from sysfs
/// through libpciaccess, DMA by the physical addresses of huge pages, no IOMMU between. For root.
///
/// What may still run from a killed process is stopped first: opening turns DMA off and resets the
/// function where it can be.
final class UIOFunction: PCIFunction {
  let name: String
  private let directory: String
  private let lock: FunctionLock
  private let config: HostFile
  private let registers: RegisterSpace
  private let mapper: PhysicalMapper
  private let line: UIOLine?
  /// Whether DMA was asked for.
  private let isMaster = Atomic<Bool>(false)

  init(_ facts: FunctionFacts, map: BARMapping? = nil) throws(PCIError) {
    name = facts.name
    directory = facts.directory
    isBehindIdleIOMMU = facts.isTranslated
    mapper = PhysicalMapper(name: facts.name, numaNode: facts.numaNode)
    // The kernel has no owner for a function that is driven this way: the lock names one.
    lock = try FunctionLock.take(facts.address, roots: facts.roots)
    do throws(FailedCall) {
      config = try HostFile("\(facts.directory)/config")
    } catch {
      throw PCIError(
        error.isRefused ? .permission : .system, "\(error)",
        remedy: error.isRefused
          ? "run as root, or bind it to vfio-pci behind an IOMMU" : "see `vblk list`")
    }
    line = UIOLine(facts)
    let bars = try SysfsBARs(facts)
    registers = RegisterSpace(try bars.regions(map ?? .libpciaccess))
    try writeBusMaster(false)
    try? reset()
    try enableMemory()
  }

  deinit { close() }

  /// A function that nobody has bound may not decode its registers.
  private func enableMemory() throws(PCIError) {
    let now = try readConfig(at: ConfigRegisters.command, width: 2)
    guard now & ConfigRegisters.memoryDecoding == 0 else { return }
    try writeConfig(
      at: ConfigRegisters.command, width: 2, value: now | ConfigRegisters.memoryDecoding)
  }

  // MARK: PCIFunction

  var dma: any DMAMapper { mapper }
  let isBehindIdleIOMMU: Bool
  var configByteCount: Int { config.byteCount }
  var regions: [PCIRegion] { registers.described }
  /// The interface offers one INTx and no message interrupt.
  var interruptVectorCount: Int { 0 }
  var hasInterruptLine: Bool { line?.canSignal ?? false }

  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32 {
    try checkConfig(offset, width)
    guard let value = config.read(at: UInt64(offset), width: width) else { throw gone("read") }
    return value
  }

  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError) {
    try checkConfig(offset, width)
    guard config.write(at: UInt64(offset), width: width, value: value) else {
      throw gone("write")
    }
  }

  private func gone(_ what: String) -> PCIError {
    let failed = FailedCall(what, config.path)
    return PCIError(
      failed.isRefused ? .permission : .removed, "\(failed)",
      remedy: failed.isRefused ? "run as root" : "see that it is still there: `vblk list`")
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
    throw PCIError(
      .outOfRange, "\(name): vector \(vector) of 0: UIO has no message interrupts",
      remedy: "use the interrupt line, poll it, or bind it to vfio-pci")
  }

  func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    guard let line, line.canSignal else {
      throw PCIError(
        .unsupported, "\(name) has no interrupt line that uio_pci_generic could tell of",
        remedy: "bind it to uio_pci_generic, or poll it: open it without interrupts")
    }
    do throws(FailedCall) {
      try line.set(eventfd)
    } catch {
      throw PCIError(.system, "\(error)", remedy: "poll it: open it without interrupts")
    }
    // What came before this may have masked it.
    if eventfd != nil { unmaskInterruptLine() }
  }

  func unmaskInterruptLine() {
    // The function may be gone.
    try? enableLine()
  }

  func setBusMaster(_ enabled: Bool) throws(PCIError) {
    isMaster.store(false, ordering: .relaxed)
    try writeBusMaster(enabled)
    isMaster.store(enabled, ordering: .relaxed)
  }

  /// Nobody asks under UIO: the system turns DMA off, and takes the registers away a moment later.
  var departure: PCIDeparture? {
    guard isMaster.load(ordering: .relaxed) else { return nil }
    if registers.isLost { return .removalRequested }
    let command = config.read(at: UInt64(ConfigRegisters.command), width: 2) ?? 0
    return command & ConfigRegisters.busMaster == 0 ? .removalRequested : nil
  }

  func reset() throws(PCIError) {
    let file: HostFile
    do throws(FailedCall) {
      file = try HostFile("\(directory)/reset", writable: true)
    } catch {
      throw PCIError(
        error.code == ENOENT ? .unsupported : error.isRefused ? .permission : .system,
        "\(error)", remedy: "QEMU: put it behind a pcie-root-port; else run as root")
    }
    defer { file.close() }
    guard file.write(at: 0, width: 1, value: UInt32(UInt8(ascii: "1"))) else {
      throw PCIError(.system, "\(FailedCall("write", file.path))", remedy: "see dmesg")
    }
  }

  func close() {
    guard config.descriptor >= 0 else { return }
    // It may be gone already.
    try? setBusMaster(false)
    line?.close()
    registers.close()
    config.close()
    lock.release()
  }
}
