import Foundation
import Synchronization
import Testing

@testable import PCI
@testable import VBlkCLI

/// `vblk bind` and `vblk unbind`: what they print, what they refuse, and with which exit code.
@Suite("Command line: bind and unbind")
struct FunctionBindingTests {
  private let tree: FakeTree
  private let kernel: FakeKernel

  init() throws {
    tree = try FakeTree.freeDiskBehindIOMMU()
    kernel = FakeKernel(tree)
  }

  private func run(_ body: (FunctionBinding) throws -> Void) throws -> (out: String, err: String) {
    let texts = Mutex<[CInt: String]>([:])
    let binding = FunctionBinding(roots: tree.roots, binder: kernel.binder) { text, descriptor in
      texts.withLock { $0[descriptor, default: ""] += text }
    }
    try body(binding)
    return texts.withLock { ($0[1] ?? "", $0[2] ?? "") }
  }

  private func request(_ driver: UserDriver = .vfio) -> BindRequest {
    BindRequest(FakeTree.address, driver: driver, overridesData: true)
  }

  private func failure(_ driver: UserDriver = .vfio) throws -> Failure {
    let before = try tree.snapshot()
    do {
      _ = try run { try $0.bind(request(driver), dryRun: false) }
      Issue.record("was bound")
      throw CancellationError()
    } catch let error as PCIError {
      #expect(kernel.steps == [])
      #expect(try tree.snapshot() == before)
      return Failure(error)
    }
  }

  @Test("--dry-run prints the lines that bind then does, one a step")
  func dryRun() throws {
    let shown = try run { try $0.bind(request(), dryRun: true) }
    #expect(kernel.steps == [])
    let done = try run { try $0.bind(request(), dryRun: false) }
    #expect(shown.out == kernel.steps.map { "\($0)\n" }.joined())
    #expect(kernel.steps.count == 3)
    #expect(done.out == "0000:00:05.0: virtio-pci -> vfio-pci; use pci:0000:00:05.0\n")
    let again = try run { try $0.bind(request(), dryRun: false) }
    #expect(again.out == "0000:00:05.0: bound to vfio-pci already; use pci:0000:00:05.0\n")

    let count = kernel.steps.count
    let shownBack = try run { try $0.unbind(FakeTree.address, dryRun: true) }
    #expect(kernel.steps.count == count)
    let back = try run { try $0.unbind(FakeTree.address, dryRun: false) }
    #expect(shownBack.out == kernel.steps[count...].map { "\($0)\n" }.joined())
    #expect(back.out == "0000:00:05.0: vfio-pci -> virtio-pci; the disk is /dev/vdb\n")
    let nothing = try run { try $0.unbind(FakeTree.address, dryRun: false) }
    #expect(nothing.out.isEmpty)
    #expect(nothing.err == "vblk: virtio-pci has 0000:00:05.0: nothing to give back\n")
  }

  @Test("a function that a killed process left is taken over, and that is said")
  func takenOver() throws {
    _ = try run { try $0.bind(request(), dryRun: false) }
    try tree.write("run/vblk/0000:00:05.0.lock", "4194305\n")
    try tree.write("\(FakeTree.function)/config", bytes: FakeTree.config(command: 0x0107))
    let done = try run { try $0.bind(request(), dryRun: false) }
    #expect(done.err.contains("process 4194305 was killed while it had 0000:00:05.0"))
    #expect(
      done.out == "0000:00:05.0: bound to vfio-pci already, stopped and reset; "
        + "use pci:0000:00:05.0\n")
  }

  @Test("siblings are told before anything is done")
  func siblings() throws {
    try tree.sibling("0000:00:06.0", driver: "e1000e")
    let shown = try run { try $0.bind(request(), dryRun: true) }
    #expect(shown.err.contains("vblk: IOMMU group 17 has other functions too: 0000:00:06.0"))
  }

  @Test("D03: behind an IOMMU without ACCESS_PLATFORM is refused, 69; UIO may")
  func accessPlatform() throws {
    try tree.write("\(FakeTree.function)/virtio3/features", FakeTree.features([0, 9, 32]))
    let failure = try failure()
    #expect(failure.status == .unavailable)
    #expect(
      failure.message.contains(
        "the device ignores the IOMMU; IOVAs would be used as physical addresses"))
    #expect(failure.message.contains("iommu_platform=on,disable-legacy=on"))
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    _ = try run { try $0.bind(request(.uio), dryRun: false) }
  }

  @Test("UIO behind an IOMMU that translates is refused, 69; one that doesn't is fine")
  func translated() throws {
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    let failure = try failure(.uio)
    #expect(failure.status == .unavailable)
    #expect(failure.message.contains("domain DMA-FQ"))
    try tree.write("sys/kernel/iommu_groups/17/type", "identity\n")
    _ = try run { try $0.bind(request(.uio), dryRun: false) }
  }

  @Test("D14: a legacy device, 69")
  func legacy() throws {
    try tree.write(
      "\(FakeTree.function)/config", bytes: FakeTree.config(device: 0x1001, capability: nil))
    let failure = try failure()
    #expect(failure.status == .unavailable)
    #expect(failure.message.contains("disable-legacy=on,disable-modern=off"))
  }

  @Test("a function that is no virtio-blk, 69")
  func other() throws {
    try tree.write(
      "\(FakeTree.function)/config", bytes: FakeTree.config(vendor: 0x8086, device: 0x100E))
    #expect(try failure().status == .unavailable)
    #expect(try failure().message.contains("is 8086:100e, no virtio-blk function"))
  }

  @Test("exit codes: a rail 73, a process 75, no IOMMU 69, permission 77")
  func exitCodes() throws {
    func code(_ fault: FakeKernel.Fault = .init(), _ set: (FakeTree) throws -> Void) throws -> Int32
    {
      let tree = try FakeTree.freeDiskBehindIOMMU()
      try set(tree)
      let kernel = FakeKernel(tree, fault: fault)
      let binding = FunctionBinding(roots: tree.roots, binder: kernel.binder) { _, _ in }
      do {
        try binding.bind(request(), dryRun: false)
        return 0
      } catch {
        let failure = Failure(error)
        #expect(failure.line.filter { $0 == "\n" }.count == 1)
        return failure.status.rawValue
      }
    }
    #expect(try code { _ in } == 0)
    #expect(
      try code { try $0.process(2, namespace: "2", mounts: ["4 1 254:17 / / rw - ext4 none rw"]) }
        == 73)
    #expect(
      try code { try $0.process(9, name: "x", open: ["\($0.root)/dev/vfio/17"]) } == 75)
    #expect(try code { try $0.remove("\(FakeTree.function)/iommu_group") } == 69)
    #expect(try code(.init(failing: (0, EACCES))) { _ in } == 77)
    #expect(try code(.init(failing: (0, EPERM))) { _ in } == 77)
    #expect(try code(.init(failing: (0, EIO))) { _ in } == 74)
  }

  @Test(
    "what is no function is a usage error", arguments: ["emu:64M", "zzz", "pci:00:05.0,queues=2"])
  func arguments(text: String) throws {
    #expect(throws: Failure.self) { try FunctionArgument.address(text) }
    #expect(try FunctionArgument.address("00:05.0") == FakeTree.address)
    #expect(try FunctionArgument.address("pci:0000:00:05.0") == FakeTree.address)
  }

  @Test("this machine: its root disk is refused, whatever the flags, before anything is written")
  func rootDisk() throws {
    let found = try? PCIScan().functions().first { function in
      function.use.reasons.contains { if case .systemDisk = $0 { true } else { false } }
    }
    guard let address = found?.identity.address.description else {
      print("skipped: no virtio-blk function of this machine holds its system")
      return
    }
    let node = FunctionNode(try #require(PCIAddress(address)), roots: SystemRoots())
    let before = (try node.driver, try node.driverOverride, try node.command)
    let flags = ["--dry-run", "--force-data", "--no-iommu", "--driver=uio_pci_generic"]
    // Dry runs first: what they don't refuse is not tried.
    for dryRun in [true, false] {
      for mask in 0..<8 {
        let chosen = flags.indices.dropFirst().filter { mask & (1 << ($0 - 1)) != 0 }
        let arguments = ["bind", address] + (dryRun ? [flags[0]] : []) + chosen.map { flags[$0] }
        let run = try VblkProcess.run(arguments)
        try #require(run.status == 73, "\(arguments): \(run.errors)")
        #expect(run.output.isEmpty)
        #expect(run.errors.contains("holds the system (mounted at /"), "\(run.errors)")
      }
    }
    #expect(try node.driver == before.0)
    #expect(try node.driverOverride == before.1)
    #expect(try node.command == before.2)
    #expect(!SystemRoots.exists(FunctionLock.path(node.address, roots: SystemRoots())))
  }
}
