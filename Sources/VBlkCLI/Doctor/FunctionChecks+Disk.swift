internal import PCI
internal import VBlk

/// The checks of what the kernel makes of a function, and of the function itself.
extension FunctionChecks {
  private var scanned: ScannedFunction {
    get throws(PCIError) { PCIScan(roots: roots).describe([try node.identity])[0] }
  }

  func kernelDriver() throws(PCIError) -> Finding {
    guard way == .none else { return Finding(.kernelDriver, .ok, "bound to \(driver ?? "none")") }
    let bind = "vblk bind \(address)"
    guard let driver else {
      return Finding(.kernelDriver, .warn, "no driver has it", remedy: bind)
    }
    let scanned = try scanned
    let disk = scanned.blockNode.map { " as /dev/\($0)" } ?? ""
    guard scanned.use == .free else {
      return Finding(
        .kernelDriver, .warn, "driven by \(driver)\(disk), which is in use",
        remedy: "see D11 first")
    }
    return Finding(
      .kernelDriver, .warn, "driven by \(driver)\(disk) (not mounted)", remedy: bind)
  }

  func inUse() throws(PCIError) -> Finding {
    let scanned = try scanned
    do throws(PCIError) {
      try rails.use(scanned)
    } catch {
      return Finding(.inUse, error)
    }
    guard let disk = scanned.blockNode else {
      return Finding(.inUse, .ok, "the kernel has no disk of it")
    }
    let data = try DataSearch(roots: roots).findings(on: node)
    guard !data.isEmpty else { return Finding(.inUse, .ok, "/dev/\(disk) is free and empty") }
    return Finding(
      .inUse, .warn, "/dev/\(disk) is free and has data: \(data.joined(separator: "; "))",
      remedy: "vblk bind --force-data \(address)")
  }

  func bindFailed() throws(PCIError) -> Finding {
    guard let wanted = try node.driverOverride, wanted != driver else {
      return Finding(.bindFailed, .ok, "no bind has failed")
    }
    return Finding(
      .bindFailed, .fail,
      "driver_override says \(wanted), and the driver is \(driver ?? "none"): failed to bind to "
        + wanted,
      remedy: "dmesg | tail says why (EINVAL: no IOMMU group, D01); vblk unbind \(address)")
  }

  func legacyDevice() throws(PCIError) -> Finding {
    let identity = try node.identity
    switch identity.interface {
    case .modern:
      return Finding(
        .legacyDevice, .ok,
        "a modern virtio interface, id \(VirtioFunction.hex(identity.vendor)):"
          + VirtioFunction.hex(identity.device))
    case .legacyOnly: return Finding(.legacyDevice, function.legacyOnly)
    case .unknown:
      return Finding(
        .legacyDevice, .skip, "could not tell: only the first 64 bytes can be read",
        remedy: "run as root")
    }
  }

  func deviceLost() throws(PCIError) -> Finding {
    do throws(PCIError) {
      _ = try node.identity
    } catch {
      guard error.code == .removed else { throw error }
      return Finding(.deviceLost, error)
    }
    return Finding(.deviceLost, .ok, "the device answers")
  }

  func leftBehind() throws(PCIError) -> Finding {
    let killed = FunctionLock.processKilled(node.address, roots: roots)
    guard let why = try node.leftBehind(killed: killed) else {
      return Finding(.leftBehind, .ok, "nothing left behind by a process that was killed")
    }
    return Finding(
      .leftBehind, .warn, why, remedy: "vblk bind \(address) stops and resets it; so does an open")
  }

  /// D18: a poller far from the disk pays for it at every look.
  func processors() throws(PCIError) -> Finding {
    guard let numaNode = try node.word("numa_node").flatMap({ Int($0) }), numaNode >= 0 else {
      return Finding(.processors, .ok, "the disk is as near to one processor as to another")
    }
    let path = "\(roots.sys)/devices/system/node/node\(numaNode)/cpulist"
    guard let text = try? SystemRoots.word(at: path), let allowed = process.processors else {
      return Finding(
        .processors, .skip, "could not tell which processors are near node \(numaNode)")
    }
    guard ProcessFacts.list(text).isDisjoint(with: allowed) else {
      return Finding(.processors, .ok, "processors of the disk's node \(numaNode) may be used")
    }
    return Finding(
      .processors, .warn,
      "the disk is on node \(numaNode) (processors \(text)), and this process may use none of them",
      remedy: "numactl --cpunodebind=\(numaNode) --preferred=\(numaNode)")
  }

  func alignment() throws(PCIError) -> Finding {
    let scanned = try scanned
    guard let disk = scanned.blockNode, let byteCount = scanned.byteCount,
      let block =
        (try? SystemRoots.word(
          at: "\(roots.sys)/class/block/\(disk)/queue/logical_block_size")).flatMap({ UInt64($0) }),
      block > 0
    else {
      return Finding(.alignment, .skip, "the kernel has no disk of it; `vblk info` says its blocks")
    }
    let rest = byteCount % block
    guard rest == 0 else {
      return Finding(
        .alignment, .warn,
        "the disk has \(byteCount) bytes and blocks of \(block): the last \(rest) bytes can't be "
          + "reached", remedy: "stay below \(byteCount - rest)")
    }
    return Finding(
      .alignment, .ok,
      "blocks of \(block) bytes, \(byteCount) bytes in all: other ranges work, with a copy")
  }
}
