/// Opens a function of this machine in the way that its kernel driver allows.
public enum FunctionAccess {
  /// Opens a virtio-blk function: by VFIO where vfio-pci has it, by sysfs where uio_pci_generic or
  /// no driver has it. Nothing is touched before it is known to be one, and free.
  ///
  /// - Parameters:
  ///   - address: Where it sits.
  ///   - roots: Where sysfs and the device nodes are.
  /// - Returns: The function, whose DMA is off until it is asked for.
  /// - Throws: ``PCIError``: `.notFound`, `.unsupported` for what is no virtio-blk function or has
  ///   no IOMMU, `.busy` where a kernel driver or a process has it, `.permission`.
  public static func open(
    _ address: PCIAddress, roots: SystemRoots = SystemRoots()
  ) throws(PCIError) -> any PCIFunction {
    let facts = try FunctionFacts(address, roots: roots)
    try facts.checkIdentity()
    switch facts.driver {
    case "vfio-pci": return try VFIOFunction(facts)
    case "uio_pci_generic", nil: return try UIOFunction(facts)
    case .some(let driver):
      throw PCIError(
        .busy, "\(address) is driven by \(driver)\(facts.disk.map { " as /dev/\($0)" } ?? "")",
        remedy: "vblk bind \(address)")
    }
  }
}

/// What sysfs says of one function, read once, before it is opened.
struct FunctionFacts: Sendable {
  let address: PCIAddress
  let roots: SystemRoots
  let vendor: UInt16
  let device: UInt16
  /// The kernel driver that has it.
  let driver: String?
  /// Its IOMMU group.
  let group: String?
  /// Whether the kernel lets its IOMMU translate for the group: its type is DMA, not identity.
  let isTranslated: Bool
  /// The NUMA node near it; nil where the system says -1, or nothing.
  let numaNode: Int?
  /// The kernel's name for its disk.
  let disk: String?

  var name: String { address.description }
  var directory: String { "\(roots.sys)/bus/pci/devices/\(address)" }

  init(_ address: PCIAddress, roots: SystemRoots) throws(PCIError) {
    let directory = "\(roots.sys)/bus/pci/devices/\(address)"
    do {
      guard let vendor = try Self.id("\(directory)/vendor"),
        let device = try Self.id("\(directory)/device")
      else {
        throw PCIError(
          .notFound, "there is no function \(address) on this machine's PCI bus",
          remedy: "see `vblk list`")
      }
      self.vendor = vendor
      self.device = device
      driver = try SystemRoots.linkName(at: "\(directory)/driver")
      group = try SystemRoots.linkName(at: "\(directory)/iommu_group")
      let kind = try SystemRoots.word(at: "\(directory)/iommu_group/type")
      isTranslated = kind.map { $0 != "identity" } ?? false
      let node = try SystemRoots.word(at: "\(directory)/numa_node").flatMap { Int($0) }
      numaNode = node.flatMap { $0 < 0 ? nil : $0 }
      if let virtio = try SystemRoots.names(in: directory)?.first(where: {
        $0.hasPrefix("virtio")
      }) {
        disk = try SystemRoots.names(in: "\(directory)/\(virtio)/block")?.first
      } else {
        disk = nil
      }
    } catch let error as SystemRoots.ReadFailure {
      throw PCIError(.system, error.description, remedy: "see that \(roots.sys) is readable")
    } catch let error as PCIError {
      throw error
    } catch {
      preconditionFailure("only the two errors above are thrown here: \(error)")
    }
    self.address = address
    self.roots = roots
  }

  /// "0x1af4", as sysfs writes ids.
  private static func id(_ path: String) throws(SystemRoots.ReadFailure) -> UInt16? {
    try SystemRoots.word(at: path).flatMap { UInt16($0.dropFirst(2), radix: 16) }
  }

  func checkIdentity() throws(PCIError) {
    guard PCIIdentity(address: address, vendor: vendor, device: device).isVirtioBlock else {
      throw PCIError(
        .unsupported,
        "\(address) is \(hex(vendor)):\(hex(device)), not a virtio-blk function "
          + "(1af4:1042 or 1af4:1001)", remedy: "choose one that `vblk list` shows")
    }
  }

  private func hex(_ id: UInt16) -> String {
    let text = String(id, radix: 16)
    return String(repeating: "0", count: 4 - text.count) + text
  }
}
