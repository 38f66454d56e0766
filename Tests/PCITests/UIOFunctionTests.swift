import Foundation
import Glibc
import Testing

@testable import PCI

@Suite("UIO functions")
struct UIOFunctionTests {
  @Test("opening turns DMA off, resets the function, lets it decode its registers")
  func opening() throws {
    let fake = try FakeFunction()
    let function = try fake.open()
    #expect(try function.readConfig(at: 4, width: 2) == 0x0002)
    #expect(try fake.contents("reset") == [UInt8(ascii: "1")])
    try function.setBusMaster(true)
    #expect(try fake.contents("config")[4] == 0x06)
    function.close()
    #expect(try fake.contents("config")[4] == 0x02, "closing turns DMA off")
  }

  @Test("registers are read and written at their width, and mapped where they are")
  func registers() throws {
    let fake = try FakeFunction()
    let function = try fake.open()
    defer { function.close() }
    function.write(region: 4, offset: 0x3000, width: 4, value: 0xAABB_CCDD)
    function.write(region: 4, offset: 0x3006, width: 2, value: 0x1122)
    function.write(region: 4, offset: 0x3005, width: 1, value: 0x33)
    #expect(function.read(region: 4, offset: 0x3000, width: 4) == 0xAABB_CCDD)
    #expect(
      try Array(fake.contents("resource4")[0x3000..<0x3008])
        == [0xDD, 0xCC, 0xBB, 0xAA, 0, 0x33, 0x22, 0x11])
    #expect(unsafe function.mapped(region: 4, offset: 0x3FFE, count: 2) != nil)
    #expect(unsafe function.mapped(region: 4, offset: 0x3FFF, count: 2) == nil)
    #expect(unsafe function.mapped(region: 2, offset: 0, count: 1) == nil)
  }

  @Test("regions: each BAR with its size and way; ports are not mapped")
  func regions() throws {
    let function = try FakeFunction().open()
    defer { function.close() }
    #expect(
      function.regions == [
        PCIRegion(index: 1, byteCount: 4096, mapped: [0..<4096], way: "mapped from resourceN"),
        PCIRegion(index: 2, byteCount: 128, mapped: [], way: "not reached"),
        PCIRegion(index: 4, byteCount: 16_384, mapped: [0..<16_384], way: "mapped from resourceN"),
      ])
    #expect(function.regionByteCount(0) == 0)
    #expect(function.regionByteCount(6) == 0, "the ROM is no region")
  }

  @Test("a second opening is refused: busy, and what the first one has is as it was")
  func secondOpening() throws {
    let fake = try FakeFunction()
    let first = try fake.open()
    try first.setBusMaster(true)
    let error = #expect(throws: PCIError.self) { _ = try fake.open() }
    #expect(error?.code == .busy)
    #expect(try first.readConfig(at: 4, width: 2) == 0x0006)
    first.close()
    try fake.open().close()
  }

  @Test("registers that go under a mapping read all ones; writes go nowhere; the process lives")
  func unplugged() throws {
    let fake = try FakeFunction()
    let function = try fake.open()
    defer { function.close() }
    let doorbell = try unsafe #require(function.mapped(region: 4, offset: 0x3000, count: 2))
    #expect(function.read(region: 4, offset: 20, width: 1) == 0)
    // What the kernel does to the mapping of a function that is gone: the next access is a SIGBUS.
    let cut = unsafe truncate(fake.path("resource4"), 0)
    #expect(cut == 0)
    unsafe doorbell.storeBytes(of: 7, as: UInt16.self)
    #expect(function.read(region: 4, offset: 20, width: 1) == 0xFF)
    function.write(region: 4, offset: 20, width: 1, value: 0)
    #expect(function.read(region: 4, offset: 20, width: 1) == 0xFF, "a reset is not confirmed")
    #expect(function.read(region: 4, offset: 0, width: 4) == 0xFFFF_FFFF)
  }

  @Test("a function whose DMA the system turns off is departing; one that never had it is not")
  func departing() throws {
    let fake = try FakeFunction()
    let function = try fake.open()
    defer { function.close() }
    #expect(function.departure == nil)
    try function.setBusMaster(true)
    #expect(function.departure == nil)
    // pci_disable_device, which the kernel's driver calls as it lets go.
    try function.writeConfig(at: 4, width: 2, value: 0x0002)
    #expect(function.departure == .removalRequested)
    try function.setBusMaster(false)
    #expect(function.departure == nil)
  }

  @Test(
    "behind an IOMMU that translates, and one that doesn't",
    arguments: [
      ("DMA-FQ\n", true), ("DMA\n", true), ("identity\n", false), (nil, false),
    ])
  func idleIOMMU(kind: String?, isIdle: Bool) throws {
    let fake = try FakeFunction()
    if let kind {
      try fake.tree.link(
        "\(FakeTree.function)/iommu_group", to: "../../../../kernel/iommu_groups/7")
      try fake.tree.write("sys/kernel/iommu_groups/7/type", kind)
    }
    let function = try fake.open()
    defer { function.close() }
    #expect(function.isBehindIdleIOMMU == isIdle)
  }

  @Test("no call reaches a closed function")
  func closed() throws {
    let function = try FakeFunction().open()
    function.close()
    function.close()
    #expect(function.read(region: 4, offset: 0, width: 4) == 0xFFFF_FFFF)
    #expect(throws: PCIError.self) { try function.readConfig(at: 0, width: 4) }
  }

  @Test("configuration space: only whole, aligned accesses inside it")
  func configBounds() throws {
    let function = try FakeFunction().open()
    defer { function.close() }
    #expect(function.configByteCount == 256)
    #expect(try function.identity.vendor == 0x1AF4)
    for (offset, width) in [(0, 3), (2, 4), (-4, 4), (256, 1), (254, 4)] {
      let error = #expect(throws: PCIError.self) {
        try function.readConfig(at: offset, width: width)
      }
      #expect(error?.code == .outOfRange, "\(width) bytes at \(offset)")
    }
  }

  @Test("D09: physical address 0 is refused")
  func frameZero() throws {
    let mapper = PhysicalMapper(name: "a disk", numaNode: nil)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { unsafe memory.deallocate() }
    let error = #expect(throws: (any Error).self) {
      try unsafe mapper.map(memory, byteCount: 4096, deviceAddress: 0)
    }
    #expect("\(String(describing: error))".contains("D09"))
  }
}

@Suite("Function access")
struct FunctionAccessTests {
  private func failure(_ tree: FakeTree) -> PCIError? {
    #expect(throws: PCIError.self) {
      _ = try FunctionAccess.open(FakeTree.address, roots: tree.roots)
    }
  }

  @Test("no such function: not found")
  func absent() throws {
    #expect(failure(try FakeTree())?.code == .notFound)
  }

  @Test("another kind of device is refused before anything is touched")
  func anotherDevice() throws {
    let fake = try FakeFunction(vendor: "0x8086", device: "0x29c0")
    let error = failure(fake.tree)
    #expect(error?.code == .unsupported)
    #expect(error?.cause.contains("8086:29c0") == true)
    #expect(try fake.contents("config")[4] == 0x04, "its DMA stays as it was")
    #expect(try fake.contents("reset") == [])
  }

  @Test("D10: a kernel driver has it: named, with its disk and the way out")
  func kernelDriver() throws {
    let fake = try FakeFunction()
    try fake.tree.link("\(FakeTree.function)/driver", to: "../../../bus/pci/drivers/virtio-pci")
    try fake.tree.directory("\(FakeTree.function)/virtio3/block/vdb")
    let error = failure(fake.tree)
    #expect(error?.code == .busy)
    #expect(error?.description.contains("driven by virtio-pci as /dev/vdb") == true)
    #expect(error?.remedy == "vblk bind 0000:00:05.0")
    #expect(try fake.contents("config")[4] == 0x04)
  }

  @Test("D01: vfio-pci without an IOMMU group")
  func noGroup() throws {
    let fake = try FakeFunction()
    try fake.tree.link("\(FakeTree.function)/driver", to: "../../../bus/pci/drivers/vfio-pci")
    let error = failure(fake.tree)
    #expect(error?.code == .unsupported)
    #expect(error?.cause.contains("D01") == true)
  }

  @Test("D12: no /dev/vfio/vfio")
  func noVFIO() throws {
    let fake = try FakeFunction()
    try fake.tree.link("\(FakeTree.function)/driver", to: "../../../bus/pci/drivers/vfio-pci")
    try fake.tree.link("\(FakeTree.function)/iommu_group", to: "../../../kernel/iommu_groups/7")
    let error = failure(fake.tree)
    #expect(error?.code == .unsupported)
    #expect(error?.cause.contains("ENOENT") == true)
    #expect(error?.cause.contains("D12") == true)
  }

  @Test("D04: a group that another process has: who it is")
  func heldGroup() throws {
    let fake = try FakeFunction()
    try fake.tree.link("\(FakeTree.function)/iommu_group", to: "../../../kernel/iommu_groups/7")
    let opening = VFIOOpening(try fake.facts(), group: "7")
    let busy = FailedCall("open", "/dev/vfio/7", code: EBUSY)
    #expect(opening.failure(busy).cause.contains("another process"))
    try fake.tree.process(212, name: "qemu", open: ["\(fake.tree.root)/dev/vfio/7"])
    let error = opening.failure(busy)
    #expect(error.code == .busy)
    #expect(error.cause.contains("EBUSY"))
    #expect(error.cause.hasSuffix("is held by process 212 (qemu) (D04)"))
  }

  @Test("no BAR: said, with the file that lists none")
  func noBARs() throws {
    let fake = try FakeFunction()
    try fake.tree.write("\(FakeTree.function)/resource", "")
    #expect(failure(fake.tree)?.cause.contains("lists no BAR") == true)
    #expect(try fake.contents("config")[4] == 0x04)
  }
}
