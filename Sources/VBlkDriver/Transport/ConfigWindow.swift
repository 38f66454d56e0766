import PCI
import Synchronization
import Virtio

/// A function whose regions can't be reached, driven through configuration space: the window of its
/// PCI_CFG capability makes one access of a region at a time (virtio 1.2, 4.1.4.9).
///
/// ```
/// capability  … bar 8 @4 | offset 32 @8 | length 32 @12 | data 32 @16
///             three stores say where, then an access of the data, as wide, is the access there
/// ```
/// Slow, and with no doorbell that can be mapped; but everything works by it. Only these four
/// fields are ever written (virtio 1.2, 4.1.4.9.2).
final class ConfigWindow: PCIFunction {
  private let inner: any PCIFunction
  private let capability: Int
  /// One access at a time: it takes four.
  private let lock = Mutex(())

  init(_ inner: any PCIFunction, at capability: Int) {
    self.inner = inner
    self.capability = capability
  }

  func read(region: Int, offset: UInt64, width: Int) -> UInt32 {
    lock.withLock { _ in
      // A function that can't be read any more reads as one that is gone.
      guard point(region, offset, width),
        let value = try? inner.readConfig(
          at: capability + VirtioCapabilityLayout.pciConfigData, width: width)
      else { return .max >> UInt32(32 - 8 * width) }
      return value
    }
  }

  func write(region: Int, offset: UInt64, width: Int, value: UInt32) {
    lock.withLock { _ in
      guard point(region, offset, width) else { return }
      try? inner.writeConfig(
        at: capability + VirtioCapabilityLayout.pciConfigData, width: width, value: value)
    }
  }

  /// Moves the window; its offset is a multiple of its length.
  private func point(_ region: Int, _ offset: UInt64, _ width: Int) -> Bool {
    precondition(offset % UInt64(width) == 0, "registers are accessed naturally aligned")
    guard let place = UInt32(exactly: offset) else { return false }
    typealias Layout = VirtioCapabilityLayout
    do {
      try inner.writeConfig(at: capability + Layout.bar, width: 1, value: UInt32(region))
      try inner.writeConfig(at: capability + Layout.barOffset, width: 4, value: place)
      try inner.writeConfig(at: capability + Layout.byteCount, width: 4, value: UInt32(width))
      return true
    } catch {
      return false
    }
  }

  func mapped(region: Int, offset: UInt64, count: Int) -> UnsafeMutableRawPointer? { nil }

  // MARK: - As the function itself

  var name: String { inner.name }
  var dma: any DMAMapper { inner.dma }
  var configByteCount: Int { inner.configByteCount }
  var interruptVectorCount: Int { inner.interruptVectorCount }
  var hasInterruptLine: Bool { inner.hasInterruptLine }
  func regionByteCount(_ region: Int) -> UInt64 { inner.regionByteCount(region) }

  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32 {
    try inner.readConfig(at: offset, width: width)
  }

  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError) {
    try inner.writeConfig(at: offset, width: width, value: value)
  }

  func setInterrupt(vector: Int, eventfd: CInt?) throws(PCIError) {
    try inner.setInterrupt(vector: vector, eventfd: eventfd)
  }

  func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    try inner.setInterruptLine(eventfd: eventfd)
  }

  func unmaskInterruptLine() { inner.unmaskInterruptLine() }
  func setBusMaster(_ enabled: Bool) throws(PCIError) { try inner.setBusMaster(enabled) }
  func reset() throws(PCIError) { try inner.reset() }
  func close() { inner.close() }
}
