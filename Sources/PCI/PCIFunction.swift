public import DMAPool

/// One PCI function as VFIO shows it: configuration space, regions, interrupts, DMA, reset.
///
/// Regions 0-5 are the BARs. Register accesses are for the control plane; the data plane rings a
/// doorbell through ``mapped(region:offset:count:)`` where there is a mapping. Safe to call from
/// any thread, one call at a time a register.
public protocol PCIFunction: AnyObject, Sendable {
  /// The function's address ("0000:00:05.0") or the emulated device's name.
  var name: String { get }

  /// The memory side of the function: whose arenas can be attached.
  var dma: any DMAMapper { get }

  /// Bytes of configuration space that can be read: 256 or 4,096.
  var configByteCount: Int { get }

  /// Reads 1, 2 or 4 bytes of configuration space, little-endian.
  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32

  /// Writes 1, 2 or 4 bytes of configuration space, little-endian.
  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError)

  /// Bytes of region `region` (0-5), 0 where there is none.
  func regionByteCount(_ region: Int) -> UInt64

  /// Reads a register of 1, 2 or 4 bytes, naturally aligned, inside the region. All ones where the
  /// function is gone.
  func read(region: Int, offset: UInt64, width: Int) -> UInt32

  /// Writes a register of 1, 2 or 4 bytes, naturally aligned, inside the region.
  func write(region: Int, offset: UInt64, width: Int, value: UInt32)

  /// The address of `count` bytes of a region in this process, or nil where registers can only be
  /// reached by ``write(region:offset:width:value:)``. Valid until ``close()``.
  func mapped(region: Int, offset: UInt64, count: Int) -> UnsafeMutableRawPointer?

  /// Interrupt vectors (MSI-X) that the function has; 0 where there are none.
  var interruptVectorCount: Int { get }

  /// Makes vector `vector` signal an eventfd, or no longer. The bus owns the MSI-X table and its
  /// masks.
  func setInterrupt(vector: Int, eventfd: CInt?) throws(PCIError)

  /// Whether regions can be accessed. Where they can't, configuration space is all there is.
  var reachesRegions: Bool { get }

  /// Whether there is an interrupt line (INTx), for a function or a machine without MSI-X.
  var hasInterruptLine: Bool { get }

  /// Makes the interrupt line signal an eventfd, or no longer. The line is masked with each signal
  /// until ``unmaskInterruptLine()``, and signals again then if it is still asserted.
  func setInterruptLine(eventfd: CInt?) throws(PCIError)

  /// Lets the line signal again; the device's cause has been read by then.
  func unmaskInterruptLine()

  /// Lets the function do DMA, or not.
  func setBusMaster(_ enabled: Bool) throws(PCIError)

  /// Resets the function (FLR). Not every function can.
  func reset() throws(PCIError)

  /// The regions that decode something, and how this process reaches each.
  var regions: [PCIRegion] { get }

  /// Why the function is about to go; nil while it stays. What it says once it says for ever.
  var departure: PCIDeparture? { get }

  /// Whether an IOMMU translates what the function does, though ``dma`` gives physical addresses:
  /// then nothing is mapped there, unless the function passes it by.
  var isBehindIdleIOMMU: Bool { get }

  /// Gives the function back. No call but this one may follow, and this one may be repeated.
  func close()
}

extension PCIFunction {
  /// Regions can be accessed, unless a function says otherwise.
  public var reachesRegions: Bool { true }

  /// No line, unless a function says otherwise.
  public var hasInterruptLine: Bool { false }

  /// Refuses: there is no line.
  public func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    throw PCIError(
      .unsupported, "\(name) has no interrupt line that can be waited for",
      remedy: "use its MSI-X vectors, or poll it")
  }

  /// Nothing: there is no line.
  public func unmaskInterruptLine() {}

  /// The regions by their sizes, each reached by calls.
  public var regions: [PCIRegion] {
    (0..<6).compactMap { index in
      let byteCount = regionByteCount(index)
      return byteCount == 0
        ? nil : PCIRegion(index: index, byteCount: byteCount, mapped: [], way: "by calls")
    }
  }

  /// An emulated function stays.
  public var departure: PCIDeparture? { nil }

  /// Its own mapper is all the IOMMU that it has.
  public var isBehindIdleIOMMU: Bool { false }

  /// Vendor and device id, the first four bytes of configuration space.
  public var identity: (vendor: UInt16, device: UInt16) {
    get throws(PCIError) {
      let word = try readConfig(at: 0, width: 4)
      return (UInt16(truncatingIfNeeded: word), UInt16(truncatingIfNeeded: word >> 16))
    }
  }
}
