internal import DMAPool

/// The memory side of a function without an IOMMU: it reaches all of the machine's memory, so there
/// is nothing to map. That pages never move is for the memory's owner to see.
final class PhysicalMapper: DMAMapper {
  let name: String
  let numaNode: Int?
  var addressing: DMAAddressing { .physical }

  init(name: String, numaNode: Int?) {
    self.name = name
    self.numaNode = numaNode
  }

  func map(
    _ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64
  ) throws(DMAError) {
    guard deviceAddress != 0 else {
      throw DMAError(
        .mapRefused, "\(name): physical address 0 for \(byteCount) bytes (D09)",
        remedy: "run as root: /proc/self/pagemap hides addresses from others")
    }
  }

  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError) {}
}
