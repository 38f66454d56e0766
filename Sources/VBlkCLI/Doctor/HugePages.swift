internal import PCI
internal import VBlk

/// Huge pages of 2 MiB, reserved and free, of the machine or of one NUMA node.
struct HugePages {
  struct Count: Equatable {
    let reserved: Int
    let free: Int
  }

  private let roots: SystemRoots

  init(roots: SystemRoots) { self.roots = roots }

  /// Of the machine; nil where the kernel has none of that size.
  var onMachine: Count? { read("\(roots.sys)/kernel/mm/hugepages/hugepages-2048kB") }

  /// Of a NUMA node.
  func on(node: Int) -> Count? { read(directory(node)) }

  /// D08: whether there are as many free as a device takes.
  ///
  /// - Parameters:
  ///   - count: What is there.
  ///   - node: Of which node; nil for the machine.
  ///   - isNeeded: Whether the device can't do without them.
  /// - Returns: The finding.
  func finding(_ count: Count, node: Int?, isNeeded: Bool) -> Finding {
    let needed = (MachineChecks.lockedByteCount + (2 << 20) - 1) / (2 << 20)
    let place = node.map { " on node \($0)" } ?? ""
    let text = "\(count.free) of \(count.reserved) free 2 MiB pages\(place)"
    guard count.free < needed else { return Finding(.hugePages, .ok, text) }
    let wanted = max(64, count.reserved + needed - count.free)
    let more =
      node.map { "echo \(wanted) > \(directory($0))/nr_hugepages" }
      ?? "sysctl vm.nr_hugepages=\(wanted)"
    return Finding(
      .hugePages, isNeeded ? .fail : .warn,
      text
        + (isNeeded
          ? ", and a device without an IOMMU needs \(needed)"
          : ": under VFIO, 4 KiB pages are used in their place, more slowly"),
      remedy: "\(more) (in /etc/sysctl.d to last; no mount is needed)")
  }

  private func directory(_ node: Int) -> String {
    "\(roots.sys)/devices/system/node/node\(node)/hugepages/hugepages-2048kB"
  }

  private func read(_ directory: String) -> Count? {
    func number(_ name: String) -> Int? {
      (try? SystemRoots.word(at: "\(directory)/\(name)")).flatMap { Int($0) }
    }
    guard let reserved = number("nr_hugepages"), let free = number("free_hugepages") else {
      return nil
    }
    return Count(reserved: reserved, free: free)
  }
}
