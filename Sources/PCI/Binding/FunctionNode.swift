/// One function's directory in sysfs: what the kernel says of it and does with it.
package struct FunctionNode: Sendable {
  package let address: PCIAddress
  package let roots: SystemRoots

  package init(_ address: PCIAddress, roots: SystemRoots) {
    self.address = address
    self.roots = roots
  }

  package var directory: String { "\(roots.sys)/bus/pci/devices/\(address)" }

  /// Whether there is such a function.
  package var exists: Bool { SystemRoots.exists(directory) }

  /// The kernel driver that has it.
  package var driver: String? { get throws(PCIError) { try link("driver") } }

  /// The driver that alone may have it; nil where any may.
  package var driverOverride: String? {
    get throws(PCIError) {
      let word = try word("driver_override")
      return word == "(null)" ? nil : word
    }
  }

  /// Its identity as its configuration space gives it.
  package var identity: PCIIdentity {
    get throws(PCIError) {
      let config = try config()
      guard config[0...3] != [0xFF, 0xFF, 0xFF, 0xFF] else {
        throw PCIError(
          .removed, "\(address) no longer answers: its configuration space reads all ones (D16)",
          remedy: "echo 1 > \(directory)/remove; echo 1 > \(roots.sys)/bus/pci/rescan")
      }
      return PCIIdentity(address: address, config: config)
    }
  }

  /// The command register: bit 2 lets the function do DMA.
  package var command: UInt16 {
    get throws(PCIError) {
      let config = try config()
      return UInt16(config[4]) | UInt16(config[5]) << 8
    }
  }

  /// The first 256 bytes of configuration space; without root the first 64.
  private func config() throws(PCIError) -> [UInt8] {
    let path = "\(directory)/config"
    let bytes = try read { () throws(SystemRoots.ReadFailure) in
      try SystemRoots.bytes(at: path, atMost: 256)
    }
    guard let bytes, bytes.count >= 64 else {
      throw PCIError(
        .system, "\(path) has \(bytes?.count ?? 0) bytes; a header has 64",
        remedy: "see that sysfs is mounted and whole")
    }
    return bytes
  }

  /// What a process must have open to drive the function, or to use its disk: the VFIO group or
  /// device, the UIO device, configuration space, the BARs, the block devices.
  package var handles: Set<String> {
    get throws(PCIError) {
      var paths: Set<String> = []
      if let group = try iommuGroup {
        paths = ["\(roots.dev)/vfio/\(group.number)", "\(roots.dev)/vfio/noiommu-\(group.number)"]
      }
      for name in try names("vfio-dev") { paths.insert("\(roots.dev)/vfio/devices/\(name)") }
      for name in try names("uio") { paths.insert("\(roots.dev)/\(name)") }
      let disk = try read { () throws(SystemRoots.ReadFailure) in
        try BlockNode.disk(in: directory, roots: roots)
      }
      for node in disk?.all ?? [] { paths.insert("\(roots.dev)/\(node.name)") }
      let resolved = SystemRoots.resolved(directory) ?? directory
      paths.insert("\(resolved)/config")
      for bar in 0...5 {
        paths.insert("\(resolved)/resource\(bar)")
        paths.insert("\(resolved)/resource\(bar)_wc")
      }
      return paths
    }
  }

  /// The process that drives it, as far as this process may see.
  package var holder: Holder? {
    get throws(PCIError) { HolderSearch(roots: roots).holder(of: try handles) }
  }

  /// The command register's bit 2: the function may do DMA.
  static let busMaster: UInt16 = 1 << 2

  /// Why it can't be taken for quiet, with a process that was killed while it had it; nil where it
  /// can. A function that is for processes and that none has may do no DMA: neither vfio-pci nor
  /// uio_pci_generic turns it on by itself.
  package func leftBehind(killed: Int?) throws(PCIError) -> String? {
    let driver = try driver
    guard UserDriver.isIdle(driver) else { return nil }
    if let killed { return "process \(killed) was killed while it had \(address)" }
    guard try command & Self.busMaster != 0, try holder == nil else { return nil }
    return "somebody left DMA on in \(address)"
  }

  func link(_ name: String) throws(PCIError) -> String? {
    let path = "\(directory)/\(name)"
    return try read { () throws(SystemRoots.ReadFailure) in try SystemRoots.linkName(at: path) }
  }

  /// The first word of one of its files, nil where there is none.
  package func word(_ name: String) throws(PCIError) -> String? {
    let path = "\(directory)/\(name)"
    return try read { () throws(SystemRoots.ReadFailure) in try SystemRoots.word(at: path) }
  }

  /// The names in one of its directories, none where there is none.
  package func names(_ name: String) throws(PCIError) -> [String] {
    let path = "\(directory)/\(name)"
    return try read { () throws(SystemRoots.ReadFailure) in try SystemRoots.names(in: path) } ?? []
  }

  private func read<Value>(
    _ body: () throws(SystemRoots.ReadFailure) -> Value?
  ) throws(PCIError) -> Value? {
    do throws(SystemRoots.ReadFailure) {
      return try body()
    } catch {
      throw PCIError(
        error.isRefused ? .permission : .system, error.description,
        remedy: error.isRefused ? "run as root" : "see that \(roots.sys) is sysfs, and whole")
    }
  }
}

extension PCIIdentity {
  /// The identity that a configuration header gives, without BARs. At least 64 bytes.
  init(address: PCIAddress, config: [UInt8]) {
    precondition(config.count >= 64, "a configuration header has 64 bytes")
    func word(_ offset: Int) -> UInt16 {
      UInt16(config[offset]) | UInt16(config[offset + 1]) << 8
    }
    let interface: Interface =
      switch ConfigCapabilities.ids(in: config) {
      case nil: .unknown
      case .some(let ids): ids.contains(ConfigCapabilities.vendorSpecific) ? .modern : .legacyOnly
      }
    self.init(
      address: address, vendor: word(0), device: word(2), subsystemVendor: word(0x2C),
      subsystemDevice: word(0x2E),
      classCode: UInt32(config[9]) | UInt32(config[10]) << 8 | UInt32(config[11]) << 16,
      revision: config[8], interface: interface)
  }
}
