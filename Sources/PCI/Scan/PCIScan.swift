internal import Glibc

/// Lists the virtio-blk functions of a machine, with what the kernel does with each. Read-only.
///
/// The bus is read through libpciaccess; driver, IOMMU group, block node and use through sysfs and
/// procfs under ``SystemRoots``.
public struct PCIScan: Sendable {
  private let roots: SystemRoots

  /// Makes a scan of this machine, or of a tree that looks like one.
  public init(roots: SystemRoots = SystemRoots()) {
    self.roots = roots
  }

  /// Every virtio-blk function on this machine's bus, in the order of its addresses.
  public func functions() throws(PCIError) -> [ScannedFunction] {
    describe(try PCIBus.identities { $0.isVirtioBlock })
  }

  /// What the tree under the roots says of functions that are already known by their identity.
  public func describe(_ identities: [PCIIdentity]) -> [ScannedFunction] {
    guard !identities.isEmpty else { return [] }
    let search = UseSearch(roots: roots)
    return identities.map { describe($0, search: search) }
  }

  private func describe(_ identity: PCIIdentity, search: UseSearch) -> ScannedFunction {
    let directory = "\(roots.sys)/bus/pci/devices/\(identity.address)"
    var gaps: [DiskUse.Reason] = []
    func read<Value>(
      _ body: () throws(SystemRoots.ReadFailure) -> Value?
    ) -> Value? {
      do throws(SystemRoots.ReadFailure) {
        return try body()
      } catch {
        gaps.append(.unknown(error.description))
        return nil
      }
    }
    if read({ () throws(SystemRoots.ReadFailure) in
      try SystemRoots.names(in: directory)
    }) == nil, gaps.isEmpty {
      gaps.append(.unknown("\(directory) is not there"))
    }
    let driver = read { () throws(SystemRoots.ReadFailure) in
      try SystemRoots.linkName(at: "\(directory)/driver")
    }
    let group = read { () throws(SystemRoots.ReadFailure) in
      try SystemRoots.linkName(at: "\(directory)/iommu_group").flatMap { Int($0) }
    }
    let numaNode = read { () throws(SystemRoots.ReadFailure) in
      try SystemRoots.word(at: "\(directory)/numa_node").flatMap { Int($0) }
    }
    let disk = read { () throws(SystemRoots.ReadFailure) in
      try BlockNode.disk(in: directory, roots: roots)
    }
    var reasons = disk.map { search.use(of: $0).reasons } ?? []
    reasons += gaps
    return ScannedFunction(
      identity: identity, kernelDriver: driver, iommuGroup: group,
      numaNode: numaNode.flatMap { $0 < 0 ? nil : $0 }, blockNode: disk?.name,
      byteCount: disk?.byteCount, use: DiskUse(reasons))
  }
}
