import Foundation

@testable import PCI

/// Another machine's sysfs, procfs and device nodes in a directory of its own, gone with the value.
final class FakeTree: Sendable {
  let root: String

  init() throws {
    root = NSTemporaryDirectory() + "vblk-tree-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: root, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  var roots: SystemRoots {
    SystemRoots(
      sys: "\(root)/sys", proc: "\(root)/proc", dev: "\(root)/dev", run: "\(root)/run",
      modules: "\(root)/lib/modules")
  }

  func write(_ path: String, _ text: String) throws {
    let whole = URL(filePath: "\(root)/\(path)")
    try FileManager.default.createDirectory(
      at: whole.deletingLastPathComponent(), withIntermediateDirectories: true)
    try text.write(to: whole, atomically: false, encoding: .utf8)
  }

  func write(_ path: String, bytes: [UInt8]) throws {
    try write(path, "")
    try Data(bytes).write(to: URL(filePath: "\(root)/\(path)"))
  }

  func text(_ path: String) throws -> String {
    try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
  }

  func exists(_ path: String) -> Bool {
    (try? FileManager.default.attributesOfItem(atPath: "\(root)/\(path)")) != nil
  }

  func move(_ path: String, to other: String) throws {
    try FileManager.default.moveItem(atPath: "\(root)/\(path)", toPath: "\(root)/\(other)")
  }

  /// Every file with its text and every link with its target, to see that nothing changed.
  func snapshot() throws -> [String: String] {
    var all: [String: String] = [:]
    for path in try FileManager.default.subpathsOfDirectory(atPath: root) {
      let whole = "\(root)/\(path)"
      if let target = try? FileManager.default.destinationOfSymbolicLink(atPath: whole) {
        all[path] = "-> \(target)"
      } else if let bytes = FileManager.default.contents(atPath: whole) {
        all[path] = String(decoding: bytes, as: UTF8.self)
      } else {
        all[path] = "a directory"
      }
    }
    return all
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
    try tree.write("\(function)/driver_override", "(null)\n")
    try tree.write("\(function)/config", bytes: config())
    try tree.write("\(function)/virtio3/features", features([0, 9, 32, 33]))
    try tree.directory("sys/bus/pci/drivers/virtio-pci")
    try tree.directory("sys/bus/pci/drivers/vfio-pci")
    try tree.directory("sys/module/vfio")
    try tree.directory("run")
    try tree.write("proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")
    try tree.node(disk, number: "254:16", sectors: 2_097_152)
    try tree.node("\(disk)/vdb1", number: "254:17", sectors: 2_095_104)
    try tree.write("\(disk)/vdb1/partition", "1\n")
    try tree.write("dev/vdb", "")
    try tree.write("dev/vdb1", "")
    try tree.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    try tree.process(1, namespace: "1", mounts: ["27 1 8:1 / / rw - ext4 /dev/sda1 rw"])
    return tree
  }

  /// The same behind an IOMMU, in group 17 with nobody else.
  static func freeDiskBehindIOMMU() throws -> FakeTree {
    let tree = try freeDisk()
    let group = "sys/kernel/iommu_groups/17"
    try tree.link("\(function)/iommu_group", to: "../../../../kernel/iommu_groups/17")
    try tree.write("\(group)/type", "DMA-FQ\n")
    try tree.link("\(group)/devices/\(address)", to: "../../../../bus/pci/devices/\(address)")
    return tree
  }

  /// Another function of the group.
  func sibling(_ name: String, driver: String?, classCode: String = "0x020000") throws {
    try write("sys/bus/pci/devices/\(name)/class", "\(classCode)\n")
    if let driver {
      try link("sys/bus/pci/devices/\(name)/driver", to: "../../drivers/\(driver)")
    }
    try link(
      "sys/kernel/iommu_groups/17/devices/\(name)", to: "../../../../bus/pci/devices/\(name)")
  }

  /// A configuration space with one capability, as a modern virtio-blk function has it.
  static func config(
    vendor: UInt16 = 0x1AF4, device: UInt16 = 0x1042, command: UInt16 = 0x0103,
    capability: UInt8? = 0x09
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    for (offset, word) in [(0, vendor), (2, device), (4, command)] {
      bytes[offset] = UInt8(truncatingIfNeeded: word)
      bytes[offset + 1] = UInt8(truncatingIfNeeded: word >> 8)
    }
    bytes[8] = 1
    bytes[11] = 0x01
    if let capability {
      bytes[6] = 1 << 4
      bytes[0x34] = 0x40
      bytes[0x40] = capability
    }
    return bytes
  }

  /// Feature bits as the kernel's virtio bus writes them: a digit a bit, bit 0 first.
  static func features(_ bits: Set<Int>) -> String {
    String((0..<64).map { bits.contains($0) ? "1" : "0" }) + "\n"
  }

  func node(_ path: String, number: String, sectors: UInt64) throws {
    try write("\(path)/dev", "\(number)\n")
    try write("\(path)/size", "\(sectors)\n")
    try directory("\(path)/holders")
  }

  /// A process that has files open and mapped.
  func process(_ id: Int, name: String, open files: [String] = [], mapped: [String] = []) throws {
    try write("proc/\(id)/comm", "\(name)\n")
    for (number, file) in files.enumerated() {
      try link("proc/\(id)/fd/\(number + 3)", to: file)
    }
    let lines = mapped.map { "7f0000000000-7f0000004000 rw-s 00000000 00:16 9   \($0)\n" }
    try write("proc/\(id)/maps", lines.joined())
    try write("proc/\(id)/mountinfo", "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
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
