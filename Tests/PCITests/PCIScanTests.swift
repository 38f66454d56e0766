import Glibc
import Testing

@testable import PCI

@Suite("PCI scan")
struct PCIScanTests {
  @Test("a disk of the kernel: driver, block node, size")
  func kernelDisk() throws {
    let found = try FakeTree.freeDisk().scan()
    #expect(found.kernelDriver == "virtio-pci")
    #expect(found.blockNode == "vdb")
    #expect(found.byteCount == 1 << 30)
    #expect(found.iommuGroup == nil)
    #expect(found.numaNode == nil)
  }

  @Test("IOMMU group and NUMA node")
  func placement() throws {
    let tree = try FakeTree.freeDisk()
    try tree.link("\(FakeTree.function)/iommu_group", to: "../../../kernel/iommu_groups/17")
    try tree.write("\(FakeTree.function)/numa_node", "1\n")
    let found = tree.scan()
    #expect(found.iommuGroup == 17)
    #expect(found.numaNode == 1)
  }

  @Test("bound to vfio-pci, or to nothing: no block node, and nothing that uses it")
  func withoutKernelDisk() throws {
    let tree = try FakeTree.freeDisk()
    try tree.remove("\(FakeTree.function)/virtio3")
    try tree.remove("\(FakeTree.function)/driver")
    #expect(tree.scan().kernelDriver == nil)
    try tree.link("\(FakeTree.function)/driver", to: "../../../bus/pci/drivers/vfio-pci")
    let found = tree.scan()
    #expect(found.kernelDriver == "vfio-pci")
    #expect(found.blockNode == nil)
    #expect(found.byteCount == nil)
    #expect(found.use == .free)
  }

  @Test("what is a virtio-blk function: by ids, whatever the class")
  func ids() {
    func isBlock(_ vendor: UInt16, _ device: UInt16, _ classCode: UInt32) -> Bool {
      PCIIdentity(address: FakeTree.address, vendor: vendor, device: device, classCode: classCode)
        .isVirtioBlock
    }
    #expect(isBlock(0x1AF4, 0x1042, 0x01_0000))
    #expect(isBlock(0x1AF4, 0x1042, 0xFF_FF00))
    #expect(isBlock(0x1AF4, 0x1001, 0x01_8000))
    #expect(!isBlock(0x1AF4, 0x1041, 0x01_0000))
    #expect(!isBlock(0x8086, 0x1042, 0x01_0000))
  }

  @Test("this machine: what sysfs shows, the scan shows, and the disk of / is the system's")
  func live() throws {
    guard unsafe access("/sys/bus/pci/devices", R_OK) == 0 else {
      print("skipped: this machine shows no PCI bus (/sys/bus/pci/devices)")
      return
    }
    let expected = try SystemRoots.names(in: "/sys/bus/pci/devices")?.filter { name in
      let directory = "/sys/bus/pci/devices/\(name)"
      return try SystemRoots.word(at: "\(directory)/vendor") == "0x1af4"
        && ["0x1042", "0x1001"].contains(try SystemRoots.word(at: "\(directory)/device"))
    }
    let found = try PCIScan().functions()
    #expect(found.map(\.identity.address.description) == expected)
    for function in found {
      print("\(function.identity.address): \(function.blockNode ?? "-") \(function.use.reasons)")
      if geteuid() == 0 { #expect(function.identity.interface != .unknown) }
    }
  }

  @Test("scans from several threads at a time don't free each other's list")
  func concurrent() async throws {
    guard unsafe access("/sys/bus/pci/devices", R_OK) == 0 else {
      print("skipped: this machine shows no PCI bus (/sys/bus/pci/devices)")
      return
    }
    let expected = try PCIBus.identities { _ in true }
    #expect(!expected.isEmpty)
    try await withThrowingTaskGroup(of: [PCIIdentity].self) { group in
      for _ in 0..<16 { group.addTask { try PCIBus.identities { _ in true } } }
      for try await found in group { #expect(found == expected) }
    }
  }
}

@Suite("PCI capability list")
struct ConfigCapabilitiesTests {
  private func config(_ capabilities: [(at: Int, id: UInt8, next: UInt8)]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    bytes[6] = 1 << 4
    bytes[0x34] = UInt8(capabilities.first?.at ?? 0)
    for capability in capabilities {
      bytes[capability.at] = capability.id
      bytes[capability.at + 1] = capability.next
    }
    return bytes
  }

  @Test("is walked in its order, low bits of pointers ignored")
  func walks() {
    let bytes = config([(0x40, 0x11, 0x82), (0x80, 0x09, 0x51), (0x50, 0x09, 0)])
    #expect(ConfigCapabilities.ids(in: bytes) == [0x11, 0x09, 0x09])
  }

  @Test("none: no list bit, or a list without entries")
  func none() {
    var bytes = config([(0x40, 0x09, 0)])
    bytes[6] = 0
    #expect(ConfigCapabilities.ids(in: bytes) == [])
    #expect(ConfigCapabilities.ids(in: config([])) == [])
  }

  @Test("a loop, a pointer into the header or a short read is no answer")
  func refuses() {
    #expect(ConfigCapabilities.ids(in: config([(0x40, 0x09, 0x40)])) == nil)
    #expect(ConfigCapabilities.ids(in: config([(0x40, 0x09, 0x10)])) == nil)
    #expect(ConfigCapabilities.ids(in: Array(config([(0x40, 0x09, 0)]).prefix(64))) == nil)
    #expect(ConfigCapabilities.ids(in: []) == nil)
  }
}
