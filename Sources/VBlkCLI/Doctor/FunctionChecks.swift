internal import PCI
internal import VBlk

/// The checks of one function, as far as they go without driving it.
struct FunctionChecks {
  /// How the function reaches memory, as it is bound.
  enum Way: Equatable {
    case vfio
    case noIOMMU
    case uio
    /// A driver of the kernel has it, or none.
    case none
  }

  let node: FunctionNode
  let roots: SystemRoots
  let process: ProcessFacts
  let driver: String?
  let group: IOMMUGroup?
  let way: Way

  init(_ address: PCIAddress, roots: SystemRoots) throws(PCIError) {
    self.roots = roots
    node = FunctionNode(address, roots: roots)
    process = ProcessFacts(roots: roots)
    driver = try node.driver
    group = try node.iommuGroup
    switch driver.flatMap(UserDriver.init(rawValue:)) {
    case .vfio: way = group.map { $0.isNoIOMMU ? .noIOMMU : .vfio } ?? .noIOMMU
    case .uio: way = .uio
    case nil: way = .none
    }
  }

  var address: String { node.address.description }
  var rails: BindRails { BindRails(node) }
  var function: VirtioFunction { VirtioFunction(node) }
  /// A group that an IOMMU stands behind.
  private var realGroup: IOMMUGroup? { group.flatMap { $0.isNoIOMMU ? nil : $0 } }

  /// All of them, in the order of their ids.
  var all: [Finding] {
    let rows: [(Finding.ID, () throws(PCIError) -> Finding)] = [
      (.noIOMMUGroup, { () throws(PCIError) in noIOMMUGroup }),
      (.groupNotViable, { () throws(PCIError) in groupNotViable }),
      (.noAccessPlatform, noAccessPlatform), (.held, held),
      (.nodePermission, nodePermission), (.addressRanges, addressRanges),
      (.hugePages, hugePages), (.physicalAddresses, { () throws(PCIError) in physicalAddresses }),
      (.kernelDriver, kernelDriver), (.inUse, inUse), (.bindFailed, bindFailed),
      (.legacyDevice, legacyDevice), (.deviceLost, deviceLost), (.leftBehind, leftBehind),
      (.processors, processors), (.alignment, alignment),
    ]
    return rows.map { id, check in
      var finding: Finding
      do throws(PCIError) {
        finding = try check()
      } catch {
        finding = Finding(id, .skip, "could not tell: \(error.cause)", remedy: error.remedy)
      }
      finding.device = address
      return finding
    }
  }

  private var noIOMMUGroup: Finding {
    if let group = realGroup {
      return Finding(
        .noIOMMUGroup, .ok,
        "IOMMU group \(group.number)" + (group.domain.map { ", domain \($0)" } ?? ""))
    }
    guard way == .none else {
      return Finding(
        .noIOMMUGroup, .warn,
        "no IOMMU, \(way == .uio ? "UIO" : "no-IOMMU mode"): the device can write anywhere",
        remedy: "where there is an IOMMU, turn it on (intel_iommu=on; QEMU: -device intel-iommu) "
          + "and bind to vfio-pci")
    }
    return Finding(.noIOMMUGroup, rails.noIOMMU)
  }

  private var groupNotViable: Finding {
    guard let group = realGroup else {
      return Finding(.groupNotViable, .skip, "no IOMMU group")
    }
    guard !group.siblings.isEmpty else {
      return Finding(.groupNotViable, .ok, "alone in group \(group.number)")
    }
    let inTheWay = group.siblings.filter(\.isInTheWay)
    guard !inTheWay.isEmpty else {
      let all = group.siblings.map(\.description).joined(separator: ", ")
      return Finding(.groupNotViable, .ok, "group \(group.number) is viable, with \(all)")
    }
    let names = inTheWay.map(\.description).joined(separator: ", ")
    return Finding(
      .groupNotViable, .fail, "group \(group.number) is not viable: it has \(names) too",
      remedy: "where the system can spare them: bind all of them to vfio-pci or unbind them (echo "
        + "ADDRESS > /sys/bus/pci/devices/ADDRESS/driver/unbind); else move the card elsewhere")
  }

  private func noAccessPlatform() throws(PCIError) -> Finding {
    guard realGroup != nil else {
      return Finding(.noAccessPlatform, .skip, "no IOMMU to obey")
    }
    switch try function.obeysIOMMU {
    case true: return Finding(.noAccessPlatform, .ok, "ACCESS_PLATFORM: DMA goes through the IOMMU")
    case false: return Finding(.noAccessPlatform, function.bypassesIOMMU)
    case nil:
      return Finding(
        .noAccessPlatform, .skip,
        "only virtio-pci can be asked, and \(driver ?? "no driver") has it; it's checked at open")
    }
  }

  private func held() throws(PCIError) -> Finding {
    let what = group.map { "group \($0.number)" } ?? "the function"
    guard let holder = try node.holder else {
      return Finding(
        .held, .ok,
        "no process has \(what)" + (process.user == 0 ? "" : ", as far as this user can see"))
    }
    return Finding(
      .held, .fail, "\(what) is held by PID \(holder.process) (\(holder.name)), by \(holder.path)",
      remedy: "end it: kill \(holder.process); unbinding a held function waits until it's let go")
  }

  private func nodePermission() throws(PCIError) -> Finding {
    guard way != .none else {
      return Finding(.nodePermission, .skip, "no driver for processes has it")
    }
    let isRoot = process.user == 0
    guard way == .vfio || isRoot else {
      return Finding(
        .nodePermission, .fail,
        "\(way == .uio ? "UIO" : "no-IOMMU") needs root (CAP_SYS_RAWIO), and this is user "
          + "\(process.user ?? -1)", remedy: "sudo; or vfio-pci behind an IOMMU, which needs none")
    }
    let paths =
      switch way {
      case .vfio: ["\(roots.dev)/vfio/vfio", "\(roots.dev)/vfio/\(group?.number ?? -1)"]
      case .noIOMMU: ["\(roots.dev)/vfio/vfio", "\(roots.dev)/vfio/noiommu-\(group?.number ?? -1)"]
      case .uio: try node.names("uio").map { "\(roots.dev)/\($0)" }
      case .none: [String]()
      }
    for path in paths {
      if let finding = DeviceNode(path).finding(for: process) { return finding }
    }
    return Finding(.nodePermission, .ok, paths.joined(separator: " and ") + " can be opened")
  }

  /// D07: nothing that a user can get wrong, since the driver chooses.
  private func addressRanges() throws(PCIError) -> Finding {
    guard let group = realGroup else {
      return Finding(.addressRanges, .skip, "no IOMMU: addresses are physical")
    }
    let path = "\(roots.sys)/kernel/iommu_groups/\(group.number)/reserved_regions"
    let text = (try? SystemRoots.text(at: path)) ?? ""
    let regions = text.split(separator: "\n").map { line in
      line.split(separator: " ").prefix(2).map { "0x" + $0.drop { $0 == "0" || $0 == "x" } }
        .joined(separator: "-")
    }
    return Finding(
      .addressRanges, .ok,
      "IOVAs are chosen inside the ranges that VFIO reports"
        + (regions.isEmpty ? "" : "; reserved are \(regions.joined(separator: ", "))"))
  }

  private func hugePages() throws(PCIError) -> Finding {
    let pages = HugePages(roots: roots)
    let numaNode = try node.word("numa_node").flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
    guard let count = numaNode.flatMap({ pages.on(node: $0) }) ?? pages.onMachine else {
      return Finding(.hugePages, .skip, "this kernel has no 2 MiB pages")
    }
    return pages.finding(count, node: numaNode, isNeeded: realGroup == nil || way == .uio)
  }

  private var physicalAddresses: Finding {
    guard realGroup == nil || way == .uio else {
      return Finding(.physicalAddresses, .skip, "VFIO behind an IOMMU needs no physical addresses")
    }
    guard let isVisible = PageFrames(roots: roots).areVisible else {
      return Finding(.physicalAddresses, .skip, "could not tell: no \(roots.proc)/self/pagemap")
    }
    guard isVisible else {
      return Finding(
        .physicalAddresses, .fail,
        "without an IOMMU physical addresses are needed, and page frame numbers read 0 without "
          + "CAP_SYS_ADMIN", remedy: "run as root; huge pages are mandatory (D08): others may move")
    }
    return Finding(
      .physicalAddresses, .ok, "physical addresses can be read; huge pages are mandatory (D08)")
  }
}
