import Foundation
import Synchronization
import Testing

@testable import PCI

/// What a bind and an unbind do, as the steps that a kernel sees, and what they leave.
@Suite("Binding")
struct BindingTests {
  private let tree: FakeTree
  private let directory: String

  init() throws {
    tree = try FakeTree.freeDiskBehindIOMMU()
    directory = "\(tree.roots.sys)/bus/pci/devices/0000:00:05.0"
  }

  private func request(_ driver: UserDriver = .vfio, noIOMMU: Bool = false) -> BindRequest {
    BindRequest(FakeTree.address, driver: driver, allowsNoIOMMU: noIOMMU, overridesData: true)
  }

  private var driver: String? {
    get throws { try FunctionNode(FakeTree.address, roots: tree.roots).driver }
  }

  /// All but what lasts until the next boot: the lock's file stays.
  private func snapshot() throws -> [String: String] {
    try tree.snapshot().filter { !$0.key.hasPrefix("run/") }
  }

  private func lines(_ steps: [BindStep]) -> [String] {
    steps.map { $0.description.replacingOccurrences(of: tree.root, with: "") }
  }

  @Test("bind: the override, the old driver off, a probe; unbind: the way back, to the letter")
  func roundTrip() throws {
    let before = try snapshot()
    let kernel = FakeKernel(tree)
    let done = try kernel.binder.bind(request())
    let function = "/sys/bus/pci/devices/0000:00:05.0"
    #expect(
      lines(kernel.steps) == [
        "echo vfio-pci > \(function)/driver_override",
        "echo 0000:00:05.0 > \(function)/driver/unbind",
        "echo 0000:00:05.0 > /sys/bus/pci/drivers_probe",
      ])
    #expect(done.driverBefore == "virtio-pci")
    #expect(try driver == "vfio-pci")

    let back = FakeKernel(tree)
    _ = try back.binder.unbind(FakeTree.address)
    #expect(
      lines(back.steps) == [
        "echo virtio-pci > \(function)/driver_override",
        "echo 0000:00:05.0 > \(function)/driver/unbind",
        "echo 0000:00:05.0 > /sys/bus/pci/drivers_probe",
        "echo '' > \(function)/driver_override",
      ])
    #expect(try snapshot() == before)
    #expect(!tree.exists("run/vblk/0000:00:05.0.driver"))
    #expect(try tree.text("run/vblk/0000:00:05.0.lock").isEmpty)
  }

  /// A way to set the tree up, by name.
  enum Start: String, CaseIterable {
    case kernelDriver, noDriver, otherUserDriver, sameDriver, killed, dmaLeftOn, moduleNotLoaded
  }

  private func set(up start: Start, for driver: UserDriver) throws {
    func give(_ name: String?) throws {
      let kernel = FakeKernel(tree)
      _ = try kernel.perform(.write(path: "\(directory)/driver/unbind", line: ""))
      try tree.write("\(FakeTree.function)/config", bytes: FakeTree.config(command: 0))
      if let name { try tree.link("\(FakeTree.function)/driver", to: "drivers/\(name)") }
    }
    switch start {
    case .kernelDriver: break
    case .noDriver: try give(nil)
    case .otherUserDriver: try give(driver == .vfio ? "uio_pci_generic" : "vfio-pci")
    case .sameDriver: try give(driver.rawValue)
    case .killed:
      try give(driver.rawValue)
      try tree.write("run/vblk/0000:00:05.0.lock", "4194305\n")
    case .dmaLeftOn:
      try give(nil)
      try tree.write("\(FakeTree.function)/config", bytes: FakeTree.config(command: 0x0107))
      try tree.write("\(FakeTree.function)/reset", "")
    case .moduleNotLoaded:
      try tree.remove("sys/module/vfio")
      try tree.remove("sys/bus/pci/drivers/vfio-pci")
      try tree.write(
        "lib/modules/6.1.0-56-amd64/modules.dep",
        "kernel/drivers/vfio/vfio.ko.xz:\nkernel/drivers/vfio/pci/vfio-pci.ko: vfio.ko\n"
          + "kernel/drivers/uio/uio_pci_generic.ko.zst:\n")
    }
  }

  @Test(
    "a dry run prints what bind then does, no more and no less, and changes nothing",
    arguments: Start.allCases, UserDriver.allCases)
  func dryRun(start: Start, driver: UserDriver) throws {
    for noIOMMU in [false, true] {
      let test = try BindingTests()
      if noIOMMU { try test.tree.remove("\(FakeTree.function)/iommu_group") }
      try test.tree.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n")
      if driver == .uio { try test.tree.directory("sys/bus/pci/drivers/uio_pci_generic") }
      try test.set(up: start, for: driver)
      let before = try test.tree.snapshot()
      let request = test.request(driver, noIOMMU: noIOMMU)
      let kernel = FakeKernel(test.tree)
      let plan = try kernel.binder.plan(request)
      #expect(kernel.steps == [])
      #expect(try test.tree.snapshot() == before)
      let done = try kernel.binder.bind(request)
      #expect(kernel.steps == plan.steps, "no-IOMMU \(noIOMMU)")
      #expect(done.steps == plan.steps)
      #expect(try test.driver == driver.rawValue)
      // Back to another driver for processes is a bind of its own, and has its needs.
      guard start != .otherUserDriver else { continue }
      let planBack = try kernel.binder.planUnbind(FakeTree.address)
      let count = kernel.steps.count
      _ = try kernel.binder.unbind(FakeTree.address)
      #expect(Array(kernel.steps[count...]) == planBack.steps)
    }
  }

  @Test("no IOMMU: the modules, the unsafe switch, then the bind")
  func noIOMMU() throws {
    try tree.remove("\(FakeTree.function)/iommu_group")
    try set(up: .moduleNotLoaded, for: .vfio)
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.bind(request(noIOMMU: true))
    #expect(
      lines(kernel.steps).prefix(3) == [
        "modprobe vfio",
        "echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        "modprobe vfio-pci",
      ])
    #expect(try driver == "vfio-pci")
  }

  @Test("behind an IOMMU, VFIO's half that maps memory is loaded too, where it's a module")
  func memoryModule() throws {
    try set(up: .moduleNotLoaded, for: .vfio)
    try tree.write(
      "lib/modules/6.1.0-56-amd64/modules.dep",
      "kernel/drivers/vfio/vfio_iommu_type1.ko.xz: vfio.ko\nkernel/drivers/vfio/pci/vfio-pci.ko:\n")
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.bind(request())
    #expect(
      lines(kernel.steps).prefix(2) == ["modprobe vfio_iommu_type1", "modprobe vfio-pci"])
    #expect(kernel.steps.count == 5)
  }

  @Test("an override that was there comes back")
  func oldOverride() throws {
    try tree.write("\(FakeTree.function)/driver_override", "virtio-pci\n")
    let before = try snapshot()
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request())
    _ = try binder.unbind(FakeTree.address)
    #expect(try snapshot() == before)
  }

  @Test("a function that had no driver is left without one again")
  func noDriverBefore() throws {
    try set(up: .noDriver, for: .vfio)
    let before = try snapshot()
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request())
    _ = try binder.unbind(FakeTree.address)
    #expect(try snapshot() == before)
  }

  @Test("from one user's driver to another, the first one is what's remembered")
  func rebind() throws {
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    let before = try snapshot()
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request())
    _ = try binder.bind(request(.uio))
    #expect(try driver == "uio_pci_generic")
    _ = try binder.unbind(FakeTree.address)
    #expect(try snapshot() == before)
  }

  @Test("nobody remembers what it had: whichever driver wants it gets it")
  func forgotten() throws {
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request())
    try tree.remove("run/vblk")
    _ = try binder.unbind(FakeTree.address)
    #expect(try driver == "virtio-pci")
  }

  @Test("what is bound already is left alone, and what the kernel has isn't given back")
  func nothingToDo() throws {
    let kernel = FakeKernel(tree)
    #expect(try kernel.binder.unbind(FakeTree.address).steps == [])
    _ = try kernel.binder.bind(request())
    let count = kernel.steps.count
    #expect(try kernel.binder.bind(request()).steps == [])
    #expect(kernel.steps.count == count)
  }

  @Test("D17: after a kill, DMA is stopped first, then the function is reset, and it's said")
  func killed() throws {
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request())
    try tree.write("run/vblk/0000:00:05.0.lock", "4194305\n")
    try tree.write("\(FakeTree.function)/config", bytes: FakeTree.config(command: 0x0507))
    try tree.write("\(FakeTree.function)/reset", "")
    let kernel = FakeKernel(tree)
    let plan = try kernel.binder.bind(request())
    #expect(
      kernel.steps == [
        .stopBusMaster(config: "\(directory)/config", command: 0x0503),
        .write(path: "\(directory)/reset", line: "1"),
      ])
    #expect(plan.notes.contains { $0.contains("process 4194305 was killed") })
    #expect(try kernel.binder.bind(request()).steps == [])
  }

  @Test("D17: DMA that is on while nobody has the function is stopped, whatever comes next")
  func dmaLeftOn() throws {
    try tree.directory("sys/bus/pci/drivers/uio_pci_generic")
    let binder = FakeKernel(tree).binder
    _ = try binder.bind(request(.uio))
    #expect(try binder.plan(request(.uio)).steps == [])
    try tree.write("\(FakeTree.function)/config", bytes: FakeTree.config(command: 0x0107))
    let stop = BindStep.stopBusMaster(config: "\(directory)/config", command: 0x0103)
    #expect(try binder.plan(request(.uio)).steps == [stop])
    #expect(try binder.plan(request()).steps.first == stop)
    #expect(try binder.planUnbind(FakeTree.address).steps.first == stop)
    #expect(
      try binder.plan(request(.uio)).notes == [
        "somebody left DMA on in 0000:00:05.0: it's stopped and reset first (D17)"
      ])
  }

  @Test("an override that a failed bind left is cleared, and nothing else")
  func leftOverride() throws {
    let before = try snapshot()
    try tree.write("\(FakeTree.function)/driver_override", "vfio-pci\n")
    let kernel = FakeKernel(tree)
    _ = try kernel.binder.unbind(FakeTree.address)
    #expect(kernel.steps == [.write(path: "\(directory)/driver_override", line: "")])
    #expect(try snapshot() == before)
  }

  @Test("a kernel without no-IOMMU mode says so once its vfio is loaded, and all is as before")
  func noNoIOMMU() throws {
    try tree.remove("\(FakeTree.function)/iommu_group")
    try set(up: .moduleNotLoaded, for: .vfio)
    let kernel = FakeKernel(tree, fault: .init(failing: (1, ENOENT)))
    let error = try #require(error { try kernel.binder.bind(request(noIOMMU: true)) })
    #expect(error.code == .unsupported)
    #expect(error.cause.contains("this kernel's vfio has no no-IOMMU mode"))
    #expect(try driver == "virtio-pci")
  }

  @Test("siblings in the IOMMU group are named, and which of them are in the way")
  func siblings() throws {
    try tree.sibling("0000:00:06.0", driver: "e1000e")
    try tree.sibling("0000:00:07.0", driver: nil)
    try tree.sibling("0000:00:08.0", driver: "vfio-pci")
    try tree.sibling("0000:00:1c.0", driver: "pcieport", classCode: "0x060400")
    let notes = try FakeKernel(tree).binder.plan(request()).notes
    #expect(
      notes == [
        "IOMMU group 17 has other functions too: 0000:00:06.0 (e1000e), "
          + "0000:00:07.0 (no driver), 0000:00:08.0 (vfio-pci), 0000:00:1c.0 (pcieport, a bridge)",
        "the group can't be used until 0000:00:06.0 is bound to vfio-pci too, or has no driver "
          + "(D02)",
      ])
  }

  @Test("a step that fails is undone with all before it, whichever it is")
  func failures() throws {
    for step in 0..<3 {
      for errno in [EIO, EINVAL, EBUSY, ENODEV, EACCES] {
        let test = try BindingTests()
        let before = try test.snapshot()
        let kernel = FakeKernel(test.tree, fault: .init(failing: (step, errno)))
        let error = try #require(test.error { try kernel.binder.bind(test.request()) })
        #expect(error.cause.contains("virtio-pci has it again"), "\(step) \(errno): \(error)")
        let reason = unsafe String(cString: strerror(errno))
        #expect(error.cause.contains(reason), "\(step) \(errno)")
        #expect(
          error.code == [EACCES: .permission, EBUSY: .busy, EIO: .system][errno]
            ?? .unsupported)
        #expect(try test.snapshot() == before, "\(step) \(errno)")
        #expect(!test.tree.exists("run/vblk/0000:00:05.0.driver"))
      }
    }
  }

  @Test("the disk is claimed while steps are done, and let go after")
  func claim() throws {
    let kernel = FakeKernel(tree)
    let claims = Mutex<[Int]>([])
    let disk = (SystemRoots.resolved(tree.root) ?? "") + "/dev/vdb"
    @Sendable func count() -> Int {
      ((try? SystemRoots.names(in: "/proc/self/fd")) ?? []).count { name in
        // The kernel marks the name of a file that was moved or removed since.
        (try? SystemRoots.linkTarget(at: "/proc/self/fd/\(name)"))?.hasPrefix(disk) ?? false
      }
    }
    let binder = Binder(roots: tree.roots) { (step) throws(BindStepFailure) in
      claims.withLock { $0.append(count()) }
      try kernel.perform(step)
    }
    _ = try binder.bind(request())
    #expect(claims.withLock { $0.prefix(2) } == [1, 1])
    #expect(count() == 0)
  }

  @Test("a bind that is killed half-way: the next bind ends it, an unbind takes it back")
  func killedHalfWay() throws {
    let before = try snapshot()
    for goesOn in [true, false] {
      let test = goesOn ? try BindingTests() : self
      try test.tree.write("run/vblk/0000:00:05.0.lock", "4194305\n")
      try test.tree.write("run/vblk/0000:00:05.0.driver", "virtio-pci\n\n")
      let kernel = FakeKernel(test.tree)
      for step in try kernel.binder.plan(test.request()).steps.prefix(2) {
        try kernel.perform(step)
      }
      #expect(try test.driver == nil)
      if goesOn {
        _ = try kernel.binder.bind(test.request())
        #expect(try test.driver == "vfio-pci")
      }
      _ = try kernel.binder.unbind(FakeTree.address)
      #expect(try test.driver == "virtio-pci")
    }
    var after = try snapshot()
    after["\(FakeTree.function)/config"] = before["\(FakeTree.function)/config"]
    #expect(after == before)
  }

  @Test("D13: a probe that says nothing and binds nothing")
  func probeInVain() throws {
    let kernel = FakeKernel(tree, fault: .init(probesInVain: true))
    let error = try #require(error { try kernel.binder.bind(request()) })
    #expect(error.cause.contains("failed to bind 0000:00:05.0 to vfio-pci: its driver is none"))
    #expect(error.cause.contains("virtio-pci had it before"))
    #expect(error.remedy.contains("`vblk unbind 0000:00:05.0` gives it back"))
    _ = try FakeKernel(tree).binder.unbind(FakeTree.address)
    #expect(try driver == "virtio-pci")
  }

  @Test("a step that the kernel doesn't come back from is not undone under it")
  func underWay() throws {
    let kernel = FakeKernel(tree, fault: .init(failing: (1, ETIMEDOUT)))
    let error = try #require(error { try kernel.binder.bind(request()) })
    #expect(error.code == .busy)
    #expect(kernel.steps.count == 2)
  }

  @Test("a module that modprobe can't find")
  func noModule() throws {
    try set(up: .moduleNotLoaded, for: .vfio)
    let kernel = FakeKernel(tree, fault: .init(missingModules: ["vfio-pci"]))
    let error = try #require(error { try kernel.binder.bind(request()) })
    #expect(error.code == .unsupported)
    #expect(error.cause.contains("this kernel has no vfio-pci"))
    #expect(try driver == "virtio-pci")
  }

  @Test("a record that is none is an error, not a guess")
  func brokenRecord() throws {
    for text in ["", "virtio-pci", "virtio-pci\n", "a\nb\nc\n", "../../etc\n\n"] {
      try tree.write("run/vblk/0000:00:05.0.driver", text)
      let error = try #require(error { try FakeKernel(tree).binder.plan(request()) }, "\(text)")
      #expect(error.cause.contains("is no record of a driver"))
    }
  }

  private func error(_ body: () throws -> BindPlan) -> PCIError? {
    do {
      let plan = try body()
      Issue.record("was taken: \(plan.steps)")
      return nil
    } catch {
      return error as? PCIError
    }
  }
}
