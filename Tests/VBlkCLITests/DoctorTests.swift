import Foundation
import Testing

@testable import PCI
@testable import VBlkCLI

/// Each row of the doctor's table, on a tree that differs from a healthy one in that alone.
@Suite("Doctor")
struct DoctorTests {
  private let tree: FakeTree
  private let function = FakeTree.function

  /// A disk that is bound to vfio-pci behind an IOMMU, on a machine that lacks nothing.
  init() throws {
    tree = try FakeTree.freeDiskBehindIOMMU()
    try tree.remove("\(FakeTree.disk)/vdb1")
    try tree.write("\(FakeTree.disk)/queue/logical_block_size", "512\n")
    try tree.link("sys/class/block/vdb", to: "../../bus/pci/devices/0000:00:05.0/virtio3/block/vdb")
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    try tree.write("dev/vfio/vfio", "")
    try tree.write("dev/vfio/17", "")
    try status(user: 0, capabilities: .max, processors: "0-3")
    try limit("unlimited")
    try pages("kernel/mm/hugepages", reserved: 64, free: 64)
  }

  private func status(user: Int, capabilities: UInt64, processors: String) throws {
    try tree.write(
      "proc/self/status",
      "Name:\tvblk\nUid:\t\(user)\t\(user)\t\(user)\t\(user)\nGid:\t\(user)\t\(user)\t0\t0\n"
        + "Groups:\t4 \(user)\nCapEff:\t\(String(capabilities, radix: 16))\n"
        + "Cpus_allowed_list:\t\(processors)\n")
  }

  private func limit(_ text: String) throws {
    try tree.write(
      "proc/self/limits",
      "Limit                     Soft Limit           Hard Limit           Units\n"
        + "Max locked memory         \(text)              \(text)              bytes\n")
  }

  private func pages(_ place: String, reserved: Int, free: Int) throws {
    try tree.write("sys/\(place)/hugepages-2048kB/nr_hugepages", "\(reserved)\n")
    try tree.write("sys/\(place)/hugepages-2048kB/free_hugepages", "\(free)\n")
  }

  private func bind(to driver: String) throws {
    let kernel = FakeKernel(tree)
    let directory = "\(tree.root)/\(function)"
    try kernel.perform(.write(path: "\(directory)/driver/unbind", line: ""))
    try tree.link("\(function)/driver", to: "drivers/\(driver)")
    try tree.write("\(function)/config", bytes: FakeTree.config(command: 0x0103))
  }

  private func report(_ patients: [Doctor.Patient]? = nil) throws -> DoctorReport {
    try Doctor(roots: tree.roots).report(on: patients ?? [.function(FakeTree.address)])
  }

  /// The row: of the function where it has one, else of the machine.
  private func row(_ id: Finding.ID) throws -> Finding {
    let all = try report().findings.filter { $0.id == id }
    return try #require(all.last { $0.device != nil } ?? all.first)
  }

  private func expect(
    _ id: Finding.ID, _ status: Finding.Status, _ parts: String...,
    location: SourceLocation = #_sourceLocation
  ) throws {
    let row = try row(id)
    #expect(row.status == status, "\(row)", sourceLocation: location)
    for part in parts {
      #expect(
        "\(row.message) -> \(row.remedy)".contains(part), "\(part): \(row)",
        sourceLocation: location)
    }
    if status == .fail || status == .warn {
      #expect(!row.remedy.isEmpty, sourceLocation: location)
    }
  }

  @Test("a healthy machine with a bound disk has no failure and nothing to note")
  func healthy() throws {
    try bind(to: "vfio-pci")
    let report = try report()
    let sick = report.findings.filter { $0.status == .fail || $0.status == .warn }
    #expect(sick == [])
    #expect(Set(report.findings.map(\.id)) == Set(Finding.ID.allCases))
    #expect(report.failures == [])
  }

  @Test("D01: no IOMMU group; no-IOMMU and UIO are to note")
  func d01() throws {
    try expect(.noIOMMUGroup, .ok, "IOMMU group 17, domain DMA-FQ")
    try tree.remove("\(function)/iommu_group")
    try expect(
      .noIOMMUGroup, .fail, "0000:00:05.0 has no IOMMU group: the kernel has no active IOMMU",
      "intel_iommu=on", "-device intel-iommu,intremap=on")
    try bind(to: "uio_pci_generic")
    try expect(.noIOMMUGroup, .warn, "no IOMMU, UIO: the device can write anywhere")
    try tree.remove("\(function)/driver")
    try tree.link("\(function)/driver", to: "drivers/vfio-pci")
    try tree.link("\(function)/iommu_group", to: "../../../../kernel/iommu_groups/17")
    try tree.write("sys/kernel/iommu_groups/17/name", "vfio-noiommu\n")
    try expect(.noIOMMUGroup, .warn, "no-IOMMU mode: the device can write anywhere")
  }

  @Test("D02: siblings with drivers of the kernel")
  func d02() throws {
    try expect(.groupNotViable, .ok, "alone in group 17")
    try tree.sibling("0000:00:1c.0", driver: "pcieport", classCode: "0x060400")
    try tree.sibling("0000:00:07.0", driver: nil)
    try expect(.groupNotViable, .ok, "group 17 is viable, with 0000:00:07.0 (no driver)")
    try tree.sibling("0000:00:06.0", driver: "e1000e")
    try expect(
      .groupNotViable, .fail, "group 17 is not viable: it has 0000:00:06.0 (e1000e) too",
      "bind all of them to vfio-pci or unbind them", "else move the card")
  }

  @Test("D03: behind an IOMMU without ACCESS_PLATFORM")
  func d03() throws {
    try expect(.noAccessPlatform, .ok)
    try tree.write("\(function)/virtio3/features", FakeTree.features([32]))
    try expect(
      .noAccessPlatform, .fail,
      "the device ignores the IOMMU; IOVAs would be used as physical addresses",
      "iommu_platform=on,disable-legacy=on")
    try bind(to: "vfio-pci")
    try expect(.noAccessPlatform, .skip, "checked at open")
  }

  @Test("D04: held by a process")
  func d04() throws {
    try expect(.held, .ok)
    try tree.process(4_242, name: "spdk_tgt", open: ["\(tree.root)/dev/vfio/17"])
    try expect(.held, .fail, "group 17 is held by PID 4242 (spdk_tgt)", "kill 4242")
  }

  @Test("D05: permission on the nodes, missing nodes, root for what needs it")
  func d05() throws {
    try expect(.nodePermission, .skip)
    try bind(to: "vfio-pci")
    try expect(.nodePermission, .ok, "dev/vfio/17 can be opened")
    try status(user: 1_000, capabilities: 0, processors: "0-3")
    for name in ["vfio", "17"] {
      try FileManager.default.setAttributes(
        [.posixPermissions: 0o666], ofItemAtPath: "\(tree.root)/dev/vfio/\(name)")
    }
    try expect(.nodePermission, .ok)
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o600], ofItemAtPath: "\(tree.root)/dev/vfio/17")
    if geteuid() == 0 {
      try expect(
        .nodePermission, .fail, "dev/vfio/17 is 0:0 0600, and this is user 1000", "chown 1000 ",
        "SUBSYSTEM==\"vfio\", GROUP=\"vfio\", MODE=\"0660\"")
    }
    try tree.remove("dev/vfio/17")
    try expect(.nodePermission, .fail, "dev/vfio/17 is not there", "--device")
    try tree.remove("\(function)/driver")
    try tree.link("\(function)/driver", to: "drivers/uio_pci_generic")
    try expect(.nodePermission, .fail, "UIO needs root (CAP_SYS_RAWIO), and this is user 1000")
  }

  @Test("D06: locked memory, and VFIO's entries")
  func d06() throws {
    try expect(.lockedMemory, .ok, "need 34 MiB locked, no limit (CAP_IPC_LOCK)")
    try status(user: 1_000, capabilities: 0, processors: "0-3")
    try expect(.lockedMemory, .ok, "no limit")
    try limit("8388608")
    try expect(
      .lockedMemory, .fail, "need 34 MiB locked, limit 8 MiB", "ulimit -l", "limits.d",
      "LimitMEMLOCK=infinity", "docker: --ulimit memlock=-1")
    try limit("67108864")
    try expect(.lockedMemory, .ok, "limit 64 MiB")
    try tree.write("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "4096\n")
    try expect(.lockedMemory, .warn, "dma_entry_limit is 4096", "use huge pages")
    try tree.write("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n")
    try expect(.lockedMemory, .ok)
  }

  @Test("D07: the driver chooses its addresses; what is reserved is told")
  func d07() throws {
    try tree.write(
      "sys/kernel/iommu_groups/17/reserved_regions",
      "0x00000000fee00000 0x00000000feefffff msi\n")
    try expect(.addressRanges, .ok, "reserved are 0xfee00000-0xfeefffff")
    try tree.remove("\(function)/iommu_group")
    try expect(.addressRanges, .skip)
  }

  @Test("D08: huge pages, of the machine and of the disk's node")
  func d08() throws {
    try expect(.hugePages, .ok, "64 of 64 free 2 MiB pages")
    try pages("kernel/mm/hugepages", reserved: 64, free: 0)
    try expect(
      .hugePages, .warn, "0 of 64 free 2 MiB pages", "4 KiB pages are used",
      "sysctl vm.nr_hugepages=81")
    try tree.write("\(function)/numa_node", "1\n")
    try pages("devices/system/node/node1/hugepages", reserved: 20, free: 16)
    try expect(
      .hugePages, .warn, "16 of 20 free 2 MiB pages on node 1",
      "node1/hugepages/hugepages-2048kB/nr_hugepages")
    try tree.remove("\(function)/iommu_group")
    try expect(.hugePages, .fail, "a device without an IOMMU needs 17")
    try pages("devices/system/node/node1/hugepages", reserved: 20, free: 17)
    try expect(.hugePages, .ok)
  }

  @Test("D09: page frame numbers that read 0")
  func d09() throws {
    try expect(.physicalAddresses, .skip, "needs no physical addresses")
    try tree.remove("\(function)/iommu_group")
    try expect(.physicalAddresses, .skip, "could not tell")
    try tree.write("proc/self/pagemap", "")
    let sized = unsafe truncate("\(tree.root)/proc/self/pagemap", 1 << 39)
    #expect(sized == 0)
    try expect(
      .physicalAddresses, .fail, "page frame numbers read 0 without CAP_SYS_ADMIN", "run as root")
    if geteuid() == 0 {
      #expect(PageFrames(roots: SystemRoots()).areVisible == true)
    }
  }

  @Test("D10: a driver of the kernel has it, or none")
  func d10() throws {
    try expect(
      .kernelDriver, .warn, "driven by virtio-pci as /dev/vdb (not mounted)",
      "vblk bind 0000:00:05.0")
    try tree.process(2, namespace: "2", mounts: ["4 1 254:16 / /data rw - ext4 none rw"])
    try expect(.kernelDriver, .warn, "driven by virtio-pci as /dev/vdb, which is in use", "D11")
    try bind(to: "vfio-pci")
    try expect(.kernelDriver, .ok, "bound to vfio-pci")
    try tree.remove("\(function)/driver")
    try expect(.kernelDriver, .warn, "no driver has it", "vblk bind")
  }

  @Test("D11: mounted, held, or with data")
  func d11() throws {
    try expect(.inUse, .ok, "/dev/vdb is free and empty")
    var bytes = [UInt8](repeating: 0, count: 4_096)
    bytes.replaceSubrange(4_086..<4_096, with: Array("SWAPSPACE2".utf8))
    try tree.write("dev/vdb", bytes: bytes)
    try expect(.inUse, .warn, "swap on vdb (mark at byte 4086)", "vblk bind --force-data")
    try tree.process(2, namespace: "2", mounts: ["4 1 254:16 / /data rw - ext4 none rw"])
    try expect(.inUse, .fail, "vdb is mounted at /data", "umount /data")
    try bind(to: "vfio-pci")
    try expect(.inUse, .ok, "the kernel has no disk of it")
  }

  @Test("D12: modules, lockdown")
  func d12() throws {
    try expect(.modules, .ok, "vfio-pci is loaded, uio_pci_generic is loaded")
    try tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    try expect(.modules, .warn, "lockdown=integrity forbids UIO and no-IOMMU", "Secure Boot")
    try tree.remove("sys/kernel/security/lockdown")
    try tree.remove("sys/bus/pci/drivers/uio_pci_generic")
    try expect(.modules, .warn, "no uio_pci_generic", "linux-modules-extra-6.1.0-56-amd64")
    try tree.write(
      "lib/modules/6.1.0-56-amd64/modules.dep", "kernel/drivers/uio/uio_pci_generic.ko.xz:\n")
    try expect(.modules, .ok, "uio_pci_generic can be loaded")
    try tree.remove("lib")
    try tree.remove("sys/bus/pci/drivers/vfio-pci")
    try expect(
      .modules, .fail, "this kernel (6.1.0-56-amd64) has no vfio-pci and no uio_pci_generic",
      "apt install linux-image-amd64")
  }

  @Test("D13: a bind that failed")
  func d13() throws {
    try expect(.bindFailed, .ok)
    try tree.write("\(function)/driver_override", "vfio-pci\n")
    try expect(
      .bindFailed, .fail, "driver_override says vfio-pci, and the driver is virtio-pci",
      "failed to bind to vfio-pci", "dmesg", "EINVAL: no IOMMU group, D01")
  }

  @Test("D14: a legacy device, and one that can't be told")
  func d14() throws {
    try expect(.legacyDevice, .ok, "1af4:1042")
    let config = FakeTree.config(device: 0x1001, capability: nil)
    try tree.write("\(function)/config", bytes: config)
    try expect(.legacyDevice, .fail, "legacy virtio device", "disable-legacy=on,disable-modern=off")
    try tree.write("\(function)/config", bytes: Array(FakeTree.config().prefix(64)))
    try expect(.legacyDevice, .skip, "run as root")
  }

  @Test("D15: there is no address mode to confuse")
  func d15() throws {
    try expect(.addressMode, .ok, "no address mode to choose")
  }

  @Test("D16: a device that no longer answers")
  func d16() throws {
    try expect(.deviceLost, .ok)
    try tree.write("\(function)/config", bytes: [UInt8](repeating: 0xFF, count: 256))
    try expect(.deviceLost, .fail, "reads all ones", "/sys/bus/pci/rescan")
  }

  @Test("D17: what a process that was killed left behind")
  func d17() throws {
    try bind(to: "vfio-pci")
    try expect(.leftBehind, .ok)
    try tree.write("run/vblk/0000:00:05.0.lock", "4194305\n")
    try expect(.leftBehind, .warn, "process 4194305 was killed", "vblk bind 0000:00:05.0")
    try tree.process(4_194_305, name: "vblk", open: ["\(tree.root)/run/vblk/0000:00:05.0.lock"])
    try expect(.leftBehind, .ok)
    try tree.write("\(function)/config", bytes: FakeTree.config(command: 0x0107))
    try expect(.leftBehind, .warn, "left DMA on")
    try tree.process(9, name: "vblk", open: ["\(tree.root)/dev/vfio/17"])
    try expect(.leftBehind, .ok)
  }

  @Test("D18: one processor, a control group's quota, the wrong node")
  func d18() throws {
    #expect(try report().findings.first { $0.id == .processors }?.status == .ok)
    func machine() throws -> Finding {
      try #require(try report().findings.first { $0.id == .processors && $0.device == nil })
    }
    try status(user: 0, capabilities: .max, processors: "5")
    #expect(try machine().status == .warn)
    #expect(try machine().message.contains("may use 1 processor: a poller"))
    try status(user: 0, capabilities: .max, processors: "0-3")
    try tree.write("proc/self/cgroup", "0::/user.slice\n")
    try tree.write("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
    #expect(try machine().status == .warn)
    #expect(try machine().message.contains("the time of 1.5"))
    try tree.write("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n")
    #expect(try machine().status == .ok)
    try tree.write("proc/self/cgroup", "4:cpu,cpuacct:/a\n1:name=systemd:/b\n")
    try tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n")
    try tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    #expect(try machine().status == .warn)
    try tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n")
    #expect(try machine().status == .ok)

    try expect(.processors, .ok)
    try tree.write("\(function)/numa_node", "1\n")
    try tree.write("sys/devices/system/node/node1/cpulist", "4-7\n")
    try expect(.processors, .warn, "node 1 (processors 4-7)", "numactl --cpunodebind=1")
    try tree.write("sys/devices/system/node/node1/cpulist", "2-7\n")
    try expect(.processors, .ok, "node 1")
  }

  @Test("D19: a socket that is missing, stale, alive")
  func d19() throws {
    let path = "\(tree.root)/s"
    func socket() throws -> Finding {
      try #require(try report([.socket(path: path)]).findings.last)
    }
    #expect(try row(.socket).status == .skip)
    #expect(try socket().message == "there is no \(path)")
    let listener = try ListeningSocket(path)
    #expect(try socket().status == .ok)
    listener.close()
    #expect(try socket().status == .fail)
    #expect(try socket().message == "nobody listens at \(path) (stale socket?)")
    #expect(try socket().device == "vhost-user:\(path)")
    let long = String(repeating: "x", count: 200)
    #expect(UnixSocket.connect(to: long) == ENAMETOOLONG)
  }

  @Test("D20: blocks and capacity")
  func d20() throws {
    try expect(.alignment, .ok, "blocks of 512 bytes, 1073741824 bytes in all")
    try tree.write("\(FakeTree.disk)/queue/logical_block_size", "4096\n")
    try tree.write("\(FakeTree.disk)/size", "9\n")
    try expect(.alignment, .warn, "the last 512 bytes can't be reached", "stay below 4096")
    try bind(to: "vfio-pci")
    try expect(.alignment, .skip)
  }
}

/// A socket that somebody listens at, until it's closed: then its file is stale.
struct ListeningSocket {
  private let descriptor: CInt

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let bound = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        unsafe Glibc.bind(
          descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: pointer),
          socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0 && listen(descriptor, 4) == 0)
  }

  func close() { Glibc.close(descriptor) }
}
