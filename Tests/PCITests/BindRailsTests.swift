import Foundation
import Testing

@testable import PCI

/// Each rail, on a tree that differs from a free disk in that alone: refused before anything is
/// done, with the reason named.
@Suite("Binding: rails")
struct BindRailsTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree.freeDiskBehindIOMMU() }

  /// What a bind is refused with; nothing may have been done, and nothing changed.
  private func refusal(
    force: Bool = false, noIOMMU: Bool = false, driver: UserDriver = .vfio,
    location: SourceLocation = #_sourceLocation
  ) throws -> PCIError {
    let before = try tree.snapshot()
    let kernel = FakeKernel(tree)
    let request = BindRequest(
      FakeTree.address, driver: driver, allowsNoIOMMU: noIOMMU, overridesData: force)
    do throws(PCIError) {
      _ = try kernel.binder.bind(request)
    } catch {
      #expect(kernel.steps == [], sourceLocation: location)
      #expect(try tree.snapshot() == before, sourceLocation: location)
      #expect(!error.remedy.isEmpty, sourceLocation: location)
      return error
    }
    Issue.record("was bound", sourceLocation: location)
    throw CancellationError()
  }

  /// Uses are refused with and without every override there is.
  private func expectUse(_ parts: String..., location: SourceLocation = #_sourceLocation) throws {
    for force in [false, true] {
      for driver in UserDriver.allCases {
        let error = try refusal(force: force, noIOMMU: force, driver: driver, location: location)
        #expect(error.code == .refused, sourceLocation: location)
        for part in parts {
          #expect(error.description.contains(part), "\(error)", sourceLocation: location)
        }
      }
    }
  }

  @Test("the root disk, whatever the options", arguments: UseSearch.systemMountPoints)
  func rootDisk(point: String) throws {
    try tree.process(2, namespace: "2", mounts: ["41 1 254:17 / \(point) rw - ext4 none rw"])
    try expectUse("vdb1 holds the system (mounted at \(point))", "never taken")
  }

  @Test("mounted in another mount namespace")
  func mounted() throws {
    try tree.process(77, namespace: "2", mounts: ["40 1 254:17 / /a\\040b rw - xfs x rw"])
    try expectUse("vdb1 is mounted at /a b", "process 77", "umount /a b")
  }

  @Test("swap")
  func swap() throws {
    try tree.write("proc/swaps", "Filename\tType\n/dev/vdb1                 partition 100 0 -2\n")
    try expectUse("vdb1 is swap space", "swapoff /dev/vdb1")
  }

  @Test(
    "held by dm, md or another",
    arguments: [("dm-0", "dmsetup remove"), ("md0", "mdadm --stop /dev/md0"), ("bcache0", "apart")])
  func held(holder: String, remedy: String) throws {
    try tree.link("\(FakeTree.disk)/vdb1/holders/\(holder)", to: "x")
    try tree.node("sys/class/block/\(holder)", number: "253:0", sectors: 8)
    try expectUse("vdb1 is held by \(holder)", remedy)
  }

  @Test("under a loop device, which is no holder by the kernel's word", arguments: ["vdb", "vdb1"])
  func loop(node: String) throws {
    try tree.write("sys/class/block/loop0/loop/backing_file", "/dev/\(node)\n")
    try tree.write("sys/class/block/loop1/loop/backing_file", "/var/image\n")
    try tree.directory("sys/class/block/loop2")
    try expectUse("\(node) is held by loop0", "losetup -d /dev/loop0")
  }

  @Test("a member of a multi-device file system")
  func member() throws {
    try tree.link("sys/fs/btrfs/abcd/devices/vdb1", to: "../../../../class/block/vdb1")
    try expectUse("vdb1 belongs to btrfs abcd")
  }

  @Test("what can't be told counts as use")
  func unknown() throws {
    try tree.remove("dev/vdb")
    try expectUse("could not tell", "dev/vdb")
  }

  @Test(
    "a process has it: VFIO group, no-IOMMU group, VFIO device, UIO device, BAR, block device",
    arguments: [
      "/dev/vfio/17", "/dev/vfio/noiommu-17", "/dev/vfio/devices/vfio3", "/dev/uio2", "/dev/vdb",
      "/dev/vdb1", "/sys/bus/pci/devices/0000:00:05.0/resource4",
      "/sys/bus/pci/devices/0000:00:05.0/config",
    ])
  func processHolds(path: String) throws {
    try tree.directory("\(FakeTree.function)/vfio-dev/vfio3")
    try tree.directory("\(FakeTree.function)/uio/uio2")
    let resolved = (SystemRoots.resolved(tree.root) ?? "") + path
    let file = path.hasPrefix("/dev") ? tree.root + path : resolved
    try tree.process(4_242, name: "spdk_tgt", open: ["/dev/null", file])
    let error = try refusal(force: true)
    #expect(error.code == .busy)
    #expect(error.cause.contains("held by process 4242 (spdk_tgt)"))
    #expect(error.remedy.contains("kill 4242"))
  }

  @Test("a process has a BAR mapped and its descriptor closed")
  func processMaps() throws {
    let root = SystemRoots.resolved(tree.root) ?? ""
    try tree.process(
      4_242, name: "testpmd",
      mapped: ["\(root)/sys/bus/pci/devices/0000:00:05.0/resource4"])
    #expect(try refusal().cause.contains("process 4242 (testpmd)"))
  }

  @Test("a file system, by name; --force-data overrides it")
  func fileSystem() throws {
    var bytes = [UInt8](repeating: 0, count: 70_000)
    bytes.replaceSubrange(0..<4, with: Array("XFSB".utf8))
    try tree.write("dev/vdb1", bytes: bytes)
    let error = try refusal()
    #expect(error.code == .refused)
    #expect(error.cause.contains("XFS on vdb1 (mark at byte 0); partitions (vdb1)"))
    #expect(error.remedy.contains("--force-data"))
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.bind(BindRequest(FakeTree.address, overridesData: true))
    #expect(kernel.steps.count == 3)
  }

  @Test("partitions with nothing in them are data")
  func partitions() throws {
    #expect(try refusal().cause.contains("has data: partitions (vdb1)"))
  }

  @Test("an empty disk without partitions is taken without any override")
  func empty() throws {
    try tree.remove("\(FakeTree.disk)/vdb1")
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.bind(BindRequest(FakeTree.address))
    #expect(kernel.steps.count == 3)
  }

  @Test("a partition that can't be read is data")
  func unreadable() throws {
    try tree.remove("dev/vdb1")
    #expect(try refusal().cause.contains("data that can't be read: there is no"))
  }

  @Test("D01: no IOMMU group")
  func noIOMMU() throws {
    try tree.remove("\(FakeTree.function)/iommu_group")
    let error = try refusal(force: true)
    #expect(error.code == .unsupported)
    #expect(error.cause.contains("0000:00:05.0 has no IOMMU group: the kernel has no active IOMMU"))
    #expect(error.remedy.contains("intel_iommu=on"))
  }

  @Test("no-IOMMU mode is asked for, and this kernel's vfio has none")
  func noNoIOMMU() throws {
    try tree.remove("\(FakeTree.function)/iommu_group")
    let error = try refusal(force: true, noIOMMU: true)
    #expect(error.code == .unsupported)
    #expect(error.remedy.contains("CONFIG_VFIO_NOIOMMU"))
  }

  @Test("D12: lockdown forbids UIO and no-IOMMU, not vfio-pci behind an IOMMU")
  func lockdown() throws {
    try tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    #expect(try refusal(force: true, driver: .uio).cause.contains("lockdown=integrity forbids"))
    _ = try FakeKernel(tree).binder.plan(BindRequest(FakeTree.address, overridesData: true))
    try tree.remove("\(FakeTree.function)/iommu_group")
    #expect(try refusal(force: true, noIOMMU: true).cause.contains("lockdown=integrity forbids"))
    try tree.remove("sys/kernel/security/lockdown")
    try tree.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    _ = try FakeKernel(tree).binder.plan(
      BindRequest(FakeTree.address, driver: .uio, overridesData: true))
  }

  @Test("D12: this kernel has no such module")
  func noModule() throws {
    let error = try refusal(force: true, driver: .uio)
    #expect(error.code == .unsupported)
    #expect(
      error.cause.contains("this kernel (6.1.0-56-amd64) has no uio_pci_generic: there is no"))
    try tree.write("lib/modules/6.1.0-56-amd64/modules.dep", "kernel/drivers/vfio/vfio.ko:\n")
    #expect(try refusal(force: true, driver: .uio).cause.contains("modules.dep lists none"))
  }

  @Test("a function that isn't there, or no longer answers")
  func gone() throws {
    try tree.write("\(FakeTree.function)/config", bytes: [UInt8](repeating: 0xFF, count: 256))
    #expect(try refusal().code == .removed)
    try tree.write("\(FakeTree.function)/config", bytes: [1, 2, 3])
    #expect(try refusal().cause.contains("has 3 bytes"))
    try tree.remove(FakeTree.function)
    #expect(try refusal().code == .notFound)
  }

  @Test("unbind: a function that a process drives")
  func unbindHeld() throws {
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.bind(BindRequest(FakeTree.address, overridesData: true))
    try tree.process(4_242, name: "vblk", open: ["\(tree.root)/dev/vfio/17"])
    let count = kernel.steps.count
    #expect(throws: PCIError.self) { try kernel.binder.unbind(FakeTree.address) }
    #expect(kernel.steps.count == count)
  }
}
