import Foundation
import Testing

@testable import PCI

/// Each way in which a disk can be in use, on a tree that differs from a free one in that alone.
@Suite("Disk use")
struct DiskUseTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree.freeDisk() }

  private var use: DiskUse { tree.scan().use }

  @Test("a disk that nothing uses is free")
  func free() {
    #expect(use == .free)
  }

  @Test("mounted, by device number")
  func mountedDisk() throws {
    try tree.process(2, namespace: "1", mounts: [])
    try tree.process(1_000, namespace: "2", mounts: ["40 1 254:16 / /data rw - ext4 none rw"])
    #expect(use == .inUse([.mounted(node: "vdb", mountPoint: "/data", process: 1_000)]))
  }

  @Test("a partition is mounted, seen from another mount namespace")
  func mountedPartition() throws {
    try tree.process(77, namespace: "2", mounts: ["40 1 254:17 /sub /a\\040b rw - xfs x rw"])
    #expect(use == .inUse([.mounted(node: "vdb1", mountPoint: "/a b", process: 77)]))
  }

  @Test("mounted by a file system without a device number of its own (btrfs), by its source")
  func mountedBySource() throws {
    try tree.process(2, namespace: "2", mounts: ["40 1 0:50 / /pool rw - btrfs /dev/vdb1 rw"])
    #expect(use == .inUse([.mounted(node: "vdb1", mountPoint: "/pool", process: 2)]))
  }

  @Test("mounted by a link under /dev")
  func mountedByLink() throws {
    try tree.link("dev/disk/by-uuid/1234", to: "../../vdb1")
    try tree.process(
      2, namespace: "2", mounts: ["40 1 0:50 / /pool rw - btrfs /dev/disk/by-uuid/1234 rw"])
    #expect(use == .inUse([.mounted(node: "vdb1", mountPoint: "/pool", process: 2)]))
  }

  @Test("the system's disk comes first among the reasons", arguments: UseSearch.systemMountPoints)
  func systemDisk(point: String) throws {
    try tree.process(
      2, namespace: "2",
      mounts: ["40 1 254:16 / /data rw - ext4 none rw", "41 1 254:17 / \(point) rw - ext4 none rw"])
    #expect(
      use
        == .inUse([
          .systemDisk(node: "vdb1", mountPoint: point),
          .mounted(node: "vdb", mountPoint: "/data", process: 2),
        ]))
  }

  @Test("swap on a partition")
  func swap() throws {
    try tree.write("proc/swaps", "Filename\tType\n/dev/vdb1                 partition 100 0 -2\n")
    #expect(use == .inUse([.swap(node: "vdb1")]))
  }

  @Test("held by a device mapper whose volume is mounted: both, to any depth")
  func holders() throws {
    try tree.link("\(FakeTree.disk)/vdb1/holders/dm-0", to: "../../../../../../class/block/dm-0")
    try tree.node("sys/class/block/dm-0", number: "253:0", sectors: 8)
    try tree.link("sys/class/block/dm-0/holders/dm-1", to: "../../dm-1")
    try tree.node("sys/class/block/dm-1", number: "253:1", sectors: 8)
    try tree.process(2, namespace: "2", mounts: ["40 1 253:1 / /lv rw - ext4 /dev/mapper/lv rw"])
    #expect(
      use
        == .inUse([
          .mounted(node: "dm-1", mountPoint: "/lv", process: 2),
          .held(node: "vdb1", by: "dm-0"), .held(node: "dm-0", by: "dm-1"),
        ]))
  }

  @Test("a second device of a btrfs, which no mount table names")
  func member() throws {
    try tree.link("sys/fs/btrfs/abcd/devices/vdb1", to: "../../../../class/block/vdb1")
    try tree.directory("sys/fs/btrfs/features")
    #expect(use == .inUse([.member(node: "vdb1", of: "btrfs abcd")]))
  }

  @Test("could not tell: no node to open")
  func noNode() throws {
    try tree.remove("dev/vdb")
    #expect(isUnknown(naming: "dev/vdb"))
  }

  @Test("could not tell: no processes")
  func noProcesses() throws {
    try tree.remove("proc/1")
    #expect(isUnknown(naming: "lists no processes"))
  }

  @Test("could not tell: a mount table that can't be read")
  func unreadableTable() throws {
    try tree.directory("proc/5/mountinfo")
    #expect(isUnknown(naming: "proc/5/mountinfo"))
  }

  @Test("could not tell: a mount table that makes no sense")
  func brokenTable() throws {
    try tree.process(2, namespace: "2", mounts: ["what is this"])
    #expect(isUnknown(naming: "what is this"))
  }

  @Test("could not tell: a driver without its disk")
  func driverWithoutDisk() throws {
    try tree.remove("\(FakeTree.function)/virtio3/block")
    #expect(isUnknown(naming: "virtio3/block"))
  }

  @Test("could not tell: a holder that isn't there")
  func lostHolder() throws {
    try tree.link("\(FakeTree.disk)/holders/md0", to: "../../../../../../class/block/md0")
    #expect(isUnknown(naming: "class/block/md0"))
  }

  @Test("could not tell: holders in a ring")
  func ringOfHolders() throws {
    try tree.link("\(FakeTree.disk)/holders/dm-0", to: "x")
    try tree.node("sys/class/block/dm-0", number: "253:0", sectors: 8)
    try tree.link("sys/class/block/dm-0/holders/dm-0", to: "x")
    #expect(isUnknown(naming: "dm-0"))
  }

  @Test("could not tell: the function's directory isn't there")
  func lostFunction() throws {
    try tree.remove(FakeTree.function)
    #expect(isUnknown(naming: "0000:00:05.0"))
  }

  @Test("a process that ends while its table is read is no gap")
  func endedProcess() throws {
    try tree.directory("proc/9")
    #expect(use == .free)
  }

  private func isUnknown(naming text: String) -> Bool {
    use.reasons.contains { reason in
      guard case .unknown(let why) = reason else { return false }
      return why.contains(text)
    }
  }
}
