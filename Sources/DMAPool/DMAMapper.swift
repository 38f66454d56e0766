/// What addresses a device uses for DMA.
public enum DMAAddressing: Sendable, Equatable {
  /// An IOMMU, or an emulation of one, translates: the pool chooses addresses inside these ranges,
  /// in multiples of `pageByteCount`.
  case translated(ranges: [ClosedRange<UInt64>], pageByteCount: UInt64)
  /// No translation: the device uses physical addresses, so only memory whose pages never move
  /// (huge pages) can be mapped.
  case physical
}

/// A device, seen as something that memory can be mapped for.
///
/// One arena may be attached to several mappers; it has the same device address in each.
/// Calls come from the control plane, on any thread.
public protocol DMAMapper: AnyObject, Sendable {
  /// The device's name, for errors.
  var name: String { get }

  /// What addresses the device uses.
  var addressing: DMAAddressing { get }

  /// The NUMA node near the device, or nil where the system names none.
  var numaNode: Int? { get }

  /// Makes `byteCount` bytes at `memory` reachable by the device at `deviceAddress`.
  ///
  /// - Parameters:
  ///   - memory: Page-aligned start of the memory.
  ///   - byteCount: Bytes, a multiple of the page size.
  ///   - deviceAddress: Where the device will find it.
  /// - Throws: ``DMAError`` that says what the device can't take.
  func map(_ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64)
    throws(DMAError)

  /// Ends the mapping made by ``map(_:byteCount:deviceAddress:)`` with the same address and count.
  /// The caller has made sure that nothing is in flight on it.
  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError)
}
