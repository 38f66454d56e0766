import Foundation

@testable import PCI

/// Another machine's sysfs, procfs and device nodes in a directory of its own, gone with the value.
final class FakeTree {
  let root: String

  init() throws {
    root = NSTemporaryDirectory() + "vblk-tree-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: root, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  var roots: SystemRoots {
    SystemRoots(sys: "\(root)/sys", proc: "\(root)/proc", dev: "\(root)/dev")
  }

  func write(_ path: String, _ text: String) throws {
    let whole = URL(filePath: "\(root)/\(path)")
    try FileManager.default.createDirectory(
      at: whole.deletingLastPathComponent(), withIntermediateDirectories: true)
    try text.write(to: whole, atomically: false, encoding: .utf8)
  }

  func directory(_ path: String) throws {
    try FileManager.default.createDirectory(
      atPath: "\(root)/\(path)", withIntermediateDirectories: true)
  }

  func link(_ path: String, to target: String) throws {
    let whole = URL(filePath: "\(root)/\(path)")
    try FileManager.default.createDirectory(
      at: whole.deletingLastPathComponent(), withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: whole.path, withDestinationPath: target)
  }

  func remove(_ path: String) throws {
    try FileManager.default.removeItem(atPath: "\(root)/\(path)")
  }

  static let address = PCIAddress(bus: 0, device: 5, function: 0)
  static let function = "sys/bus/pci/devices/0000:00:05.0"
  static let disk = "\(function)/virtio3/block/vdb"

  /// A free disk of 1 GiB: vdb (254:16) with one partition, bound to the kernel's driver; process 1
  /// sees a root file system that is somewhere else.
  static func freeDisk() throws -> FakeTree {
    let tree = try FakeTree()
    try tree.link("\(function)/driver", to: "../../../bus/pci/drivers/virtio-pci")
    try tree.link("\(function)/virtio3/driver", to: "../../../../bus/virtio/drivers/virtio_blk")
    try tree.write("\(function)/numa_node", "-1\n")
    try tree.node(disk, number: "254:16", sectors: 2_097_152)
    try tree.node("\(disk)/vdb1", number: "254:17", sectors: 2_095_104)
    try tree.write("\(disk)/vdb1/partition", "1\n")
    try tree.write("dev/vdb", "")
    try tree.write("dev/vdb1", "")
    try tree.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    try tree.process(1, namespace: "1", mounts: ["27 1 8:1 / / rw - ext4 /dev/sda1 rw"])
    return tree
  }

  func node(_ path: String, number: String, sectors: UInt64) throws {
    try write("\(path)/dev", "\(number)\n")
    try write("\(path)/size", "\(sectors)\n")
    try directory("\(path)/holders")
  }

  func process(_ id: Int, namespace: String, mounts: [String]) throws {
    try write("proc/\(id)/mountinfo", mounts.map { $0 + "\n" }.joined())
    try link("proc/\(id)/ns/mnt", to: "mnt:[\(namespace)]")
  }

  /// What a scan says of the one function.
  func scan(_ identity: PCIIdentity? = nil) -> ScannedFunction {
    let identity =
      identity ?? PCIIdentity(address: Self.address, vendor: 0x1AF4, device: 0x1042)
    return PCIScan(roots: roots).describe([identity])[0]
  }
}
