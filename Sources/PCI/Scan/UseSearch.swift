internal import Glibc

/// Looks for reasons not to take a disk: mounts in any namespace, swap, holders, members of
/// multi-device file systems, and last an exclusive open, which sees every other claim.
struct UseSearch {
  private let roots: SystemRoots
  private let tables: MountTables

  /// Mounts here make a disk the system's, whatever else is on it.
  static let systemMountPoints: Set<String> = ["/", "/boot", "/boot/efi", "/usr", "/etc", "/var"]

  /// Reads the mount tables once, for any number of disks.
  init(roots: SystemRoots) {
    self.roots = roots
    tables = MountTables(roots: roots)
  }

  /// What uses the disk or anything on it.
  func use(of disk: BlockNode) -> DiskUse {
    let nodes = disk.all
    var reasons = nodes.flatMap { mounts(of: $0) }
    reasons.sort { left, _ in if case .systemDisk = left { true } else { false } }
    reasons += nodes.flatMap { node in
      node.holders.map { .held(node: node.name, by: $0.name) }
    }
    do throws(SystemRoots.ReadFailure) {
      reasons += try swaps(of: nodes)
      reasons += try members(nodes)
      reasons += try loops(on: nodes)
    } catch {
      reasons.append(.unknown(error.description))
    }
    if let gap = tables.gap { reasons.append(.unknown(gap)) }
    if reasons.isEmpty, let claim = claim(on: disk) { reasons = [claim] }
    return DiskUse(reasons)
  }

  private func mounts(of node: BlockNode) -> [DiskUse.Reason] {
    var points: Set<String> = []
    return tables.mounts.compactMap { mount in
      guard mount.number == node.number || self.node(named: mount.source) == node.name,
        points.insert(mount.mountPoint).inserted
      else { return nil }
      return Self.systemMountPoints.contains(mount.mountPoint)
        ? .systemDisk(node: node.name, mountPoint: mount.mountPoint)
        : .mounted(node: node.name, mountPoint: mount.mountPoint, process: mount.process)
    }
  }

  private func swaps(of nodes: [BlockNode]) throws(SystemRoots.ReadFailure) -> [DiskUse.Reason] {
    let text = try SystemRoots.text(at: "\(roots.proc)/swaps") ?? ""
    let names = Set(
      text.split(separator: "\n").dropFirst().compactMap { line in
        line.split(separator: " ").first.flatMap { node(named: MountTables.unescaped($0)) }
      })
    return nodes.filter { names.contains($0.name) }.map { .swap(node: $0.name) }
  }

  /// A btrfs of several devices names only one of them in the mount table.
  private func members(_ nodes: [BlockNode]) throws(SystemRoots.ReadFailure) -> [DiskUse.Reason] {
    let directory = "\(roots.sys)/fs/btrfs"
    var reasons: [DiskUse.Reason] = []
    for system in try SystemRoots.names(in: directory) ?? [] {
      let devices = try SystemRoots.names(in: "\(directory)/\(system)/devices") ?? []
      for node in nodes where devices.contains(node.name) {
        reasons.append(.member(node: node.name, of: "btrfs \(system)"))
      }
    }
    return reasons
  }

  /// A loop device over a disk claims nothing, and is no holder by the kernel's word.
  private func loops(on nodes: [BlockNode]) throws(SystemRoots.ReadFailure) -> [DiskUse.Reason] {
    let directory = "\(roots.sys)/class/block"
    var reasons: [DiskUse.Reason] = []
    for loop in try SystemRoots.names(in: directory) ?? [] where loop.hasPrefix("loop") {
      let file = try SystemRoots.text(at: "\(directory)/\(loop)/loop/backing_file")
      guard let path = file?.split(separator: "\n").first, let name = node(named: String(path))
      else { continue }
      reasons += nodes.filter { $0.name == name }.map { .held(node: $0.name, by: loop) }
    }
    return reasons
  }

  /// The name of the node that a path under /dev leads to, in the tree that is looked at.
  private func node(named source: String) -> String? {
    guard source.hasPrefix("/dev/") else { return nil }
    return SystemRoots.finalName(of: roots.dev + source.dropFirst("/dev".count))
      ?? source.split(separator: "/").last.map(String.init)
  }

  /// The kernel refuses an exclusive open of a disk that anything in it has claimed, partitions
  /// included. The open is undone at once, reads nothing and is tried only where all else is calm.
  private func claim(on disk: BlockNode) -> DiskUse.Reason? {
    let path = "\(roots.dev)/\(disk.name)"
    let descriptor = unsafe open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return nil
    }
    if errno == EBUSY { return .claimed(node: disk.name) }
    return .unknown(SystemRoots.ReadFailure(path: path, errno: errno).description)
  }
}
