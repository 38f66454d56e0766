internal import CHostIO
internal import DMAPool
internal import Glibc
internal import Synchronization

/// A VFIO container with one group in it: the address space of one function, as an IOMMU translates
/// it, or physical addresses where VFIO runs without one.
///
/// Closed by its function. The kernel ends all mappings then, so unmapping afterwards is right and
/// has nothing to do: arenas may outlive the function.
final class VFIOContainer: DMAMapper {
  let name: String
  let numaNode: Int?
  let addressing: DMAAddressing
  /// What the IOMMU says; nil where there is none.
  let iommu: VFIOIOMMUInfo?
  private let container: HostFile
  private let group: HostFile
  private let state = Mutex(State())

  private struct State {
    var isClosed = false
    var mappingCount = 0
  }

  /// Opens the function's group and gives it an address space.
  init(_ facts: FunctionFacts) throws(PCIError) {
    guard let number = facts.group else {
      throw PCIError(
        .unsupported, "\(facts.name) has no IOMMU group: the kernel has no active IOMMU (D01)",
        remedy: "turn it on (firmware, and intel_iommu=on; QEMU: -device intel-iommu,intremap=on)"
          + ", or use uio_pci_generic, which is unsafe")
    }
    let opening = VFIOOpening(facts, group: number)
    let container = try opening.container()
    let group = try opening.group()
    try opening.join(group, container)
    name = facts.name
    numaNode = facts.numaNode
    self.container = container
    self.group = group
    guard !opening.isWithoutIOMMU(group) else {
      iommu = nil
      addressing = .physical
      return
    }
    let reply = unsafe VFIOReply.ask(byteCount: VFIOIOMMUInfo.byteCount) { bytes in
      unsafe chio_vfio_iommu_info(container.descriptor, bytes)
    }
    guard let reply else {
      throw opening.failure(FailedCall("VFIO_IOMMU_GET_INFO", container.path))
    }
    let info = VFIOIOMMUInfo(reply)
    iommu = info
    addressing = .translated(ranges: info.ranges, pageByteCount: info.pageByteCount)
  }

  /// The function's own file: one a group member.
  func device() throws(FailedCall) -> HostFile {
    let descriptor = unsafe chio_vfio_device(group.descriptor, name)
    guard descriptor >= 0 else { throw FailedCall("VFIO_GROUP_GET_DEVICE_FD", name) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    return HostFile(adopting: descriptor, path: "VFIO device \(name)")
  }

  func map(
    _ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64
  ) throws(DMAError) {
    let start = UInt(bitPattern: memory)
    try state.withLock { state throws(DMAError) in
      guard !state.isClosed else {
        throw DMAError(.closed, "\(name) is closed", remedy: "open it again")
      }
      if let most = iommu?.mappingsMax, state.mappingCount >= most {
        throw DMAError(
          .mapRefused,
          "\(name) has \(state.mappingCount) DMA mappings, the most of the kernel (D06)",
          remedy: "use huge pages, or raise vfio_iommu_type1's dma_entry_limit")
      }
      if iommu != nil {
        let status = unsafe chio_vfio_map(
          container.descriptor, UnsafeMutableRawPointer(bitPattern: start), deviceAddress,
          UInt64(byteCount))
        guard status == 0 else {
          throw refused(FailedCall("VFIO_IOMMU_MAP_DMA", name), byteCount, deviceAddress)
        }
      }
      state.mappingCount += 1
    }
  }

  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError) {
    try state.withLock { state throws(DMAError) in
      guard !state.isClosed else { return }
      if iommu != nil {
        var count = UInt64(byteCount)
        let status = unsafe chio_vfio_unmap(container.descriptor, deviceAddress, &count)
        guard status == 0, count == UInt64(byteCount) else {
          throw DMAError(
            .mapRefused,
            "\(name): VFIO_IOMMU_UNMAP_DMA of \(byteCount) bytes at \(hex(deviceAddress)) "
              + "(\(status == 0 ? "\(count) unmapped" : "errno \(errno)"))",
            remedy: "close the device: that ends its mappings")
        }
      }
      state.mappingCount -= 1
    }
  }

  /// Ends the address space; the function's own file must be closed already. May be repeated.
  func close() {
    state.withLock { state in
      guard !state.isClosed else { return }
      state.isClosed = true
      state.mappingCount = 0
      group.close()
      container.close()
    }
  }

  private func refused(
    _ failed: FailedCall, _ byteCount: Int, _ deviceAddress: UInt64
  ) -> DMAError {
    let what = "\(failed) for \(byteCount) bytes at \(hex(deviceAddress))"
    switch failed.code {
    case ENOMEM:
      return DMAError(
        .mapRefused, "\(what): the limit of locked memory is \(Self.lockLimit) (D06)",
        remedy: "raise it (ulimit -l, LimitMEMLOCK=, limits.d), or use less memory")
    case ENOSPC:
      return DMAError(
        .mapRefused, "\(what): too many mappings (D06)",
        remedy: "use huge pages, or raise vfio_iommu_type1's dma_entry_limit")
    default:
      return DMAError(
        .mapRefused, "\(what): the IOMMU takes \(iommu?.ranges.map(describe) ?? []) (D07)",
        remedy: "use an arena that was first attached to this device")
    }
  }

  private static var lockLimit: String {
    var limit = rlimit()
    guard unsafe getrlimit(__RLIMIT_MEMLOCK, &limit) == 0 else {
      return "unknown"
    }
    return limit.rlim_cur == rlim_t.max ? "unlimited" : "\(limit.rlim_cur) bytes"
  }
}

private func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

private func describe(_ range: ClosedRange<UInt64>) -> String {
  "\(hex(range.lowerBound))-\(hex(range.upperBound))"
}
