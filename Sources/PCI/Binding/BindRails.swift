/// The rails of a bind, in the order in which they refuse. Each says what was found and what to do.
package struct BindRails {
  let function: FunctionNode

  package init(_ function: FunctionNode) { self.function = function }

  private var address: PCIAddress { function.address }
  private var roots: SystemRoots { function.roots }

  /// Refuses a function that isn't there.
  package func exists() throws(PCIError) {
    guard function.exists else {
      throw PCIError(
        .notFound, "there is no function \(address) (no \(function.directory))",
        remedy: "see `vblk list`")
    }
  }

  /// Refuses a disk that anything uses: nothing overrides that.
  package func use(_ scanned: ScannedFunction) throws(PCIError) {
    guard let first = scanned.use.reasons.first else { return }
    let others = scanned.use.reasons.count - 1
    throw PCIError(
      .refused,
      "\(address) is in use: \(first)" + (others > 0 ? " and \(others) more reasons" : ""),
      remedy: Self.remedy(for: first, disk: scanned.blockNode ?? "the disk"))
  }

  /// Refuses a function that a process drives.
  package func holder() throws(PCIError) {
    guard let holder = try function.holder else { return }
    throw PCIError(
      .busy, "\(address) is held by \(holder), by \(holder.path) (D04)",
      remedy: "end it (kill \(holder.process)), then try again")
  }

  /// Refuses a disk with data.
  package func data() throws(PCIError) {
    let findings = try DataSearch(roots: roots).findings(on: function)
    guard !findings.isEmpty else { return }
    throw PCIError(
      .refused, "\(address) has data: \(findings.joined(separator: "; "))",
      remedy: "--force-data takes it all the same, and keeps what is on it until it's written to")
  }

  /// Refuses vfio-pci without an IOMMU, unless that was asked for and this kernel can.
  package func iommu(allowsNoIOMMU: Bool) throws(PCIError) {
    if let group = try function.iommuGroup, !group.isNoIOMMU { return }
    guard allowsNoIOMMU else { throw noIOMMU }
    let modules = KernelModules(roots: roots)
    try lockdown("no-IOMMU mode")
    guard modules.module("vfio") != .loaded || SystemRoots.exists(noIOMMUSwitch) else {
      throw PCIError(
        .unsupported,
        "this kernel (\(modules.release)) has no no-IOMMU mode: there is no \(noIOMMUSwitch)",
        remedy: "--driver uio_pci_generic needs none; or a kernel with CONFIG_VFIO_NOIOMMU")
    }
  }

  /// D01, as doctor says it too.
  package var noIOMMU: PCIError {
    PCIError(
      .unsupported, "\(address) has no IOMMU group: the kernel has no active IOMMU (D01)",
      remedy: "bare metal: VT-d or AMD-Vi in the firmware, and intel_iommu=on; QEMU: "
        + "-device intel-iommu,intremap=on on q35, and iommu_platform=on for the disk; "
        + "else --no-iommu or --driver uio_pci_generic: root, unsafe")
  }

  /// The switch that lets vfio-pci take functions without an IOMMU.
  package var noIOMMUSwitch: String {
    "\(roots.sys)/module/vfio/parameters/enable_unsafe_noiommu_mode"
  }

  /// Refuses what a lockdown of the kernel forbids.
  package func lockdown(_ what: String) throws(PCIError) {
    guard let mode = KernelModules(roots: roots).lockdown else { return }
    throw PCIError(
      .unsupported, "lockdown=\(mode) forbids UIO and no-IOMMU, and \(what) was asked for (D12)",
      remedy: "use vfio-pci behind an IOMMU, or turn Secure Boot off")
  }

  /// Refuses a driver that this kernel hasn't got.
  package func driver(_ driver: UserDriver) throws(PCIError) {
    if driver == .uio { try lockdown(driver.rawValue) }
    let modules = KernelModules(roots: roots)
    guard case .missing(let why) = modules.driver(driver.rawValue) else { return }
    throw PCIError(
      .unsupported, "this kernel (\(modules.release)) has no \(driver.rawValue): \(why) (D12)",
      remedy: "Debian: apt install linux-image-amd64; Ubuntu: apt install "
        + "linux-modules-extra-\(modules.release); then boot that kernel")
  }

  private static func remedy(for reason: DiskUse.Reason, disk: String) -> String {
    switch reason {
    case .systemDisk: "the system's disk is never taken, whatever the options"
    case .mounted(_, let point, _): "umount \(point)"
    case .swap(let node): "swapoff /dev/\(node)"
    case .held(_, let by) where by.hasPrefix("md"): "mdadm --stop /dev/\(by)"
    case .held(_, let by) where by.hasPrefix("loop"): "losetup -d /dev/\(by)"
    case .held(_, let by) where by.hasPrefix("dm-"): "dmsetup remove /dev/\(by), or vgchange -an"
    case .held(_, let by): "take /dev/\(by) apart"
    case .member(_, let system): "umount \(system)"
    case .claimed: "find who has /dev/\(disk): lsblk, mount, swapon, fuser"
    case .unknown: "run as root outside a container; what can't be told counts as in use"
    }
  }
}
