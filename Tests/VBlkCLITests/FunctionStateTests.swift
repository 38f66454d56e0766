import Foundation
import Testing

@testable import PCI
@testable import VBlkCLI

@Suite("Command line: list")
struct FunctionStateTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree.freeDiskBehindIOMMU() }

  private func state(_ interface: PCIIdentity.Interface = .modern) -> FunctionState {
    let identity = PCIIdentity(
      address: FakeTree.address, vendor: 0x1AF4, device: 0x1042, interface: interface)
    return FunctionState(tree.scan(identity), roots: tree.roots)
  }

  private func bind() throws {
    _ = try FakeKernel(tree).binder.bind(BindRequest(FakeTree.address, overridesData: true))
  }

  @Test("ready: a free disk wants a bind; a bound one is ready, unless a sibling is in the way")
  func readiness() throws {
    #expect(state().readiness == .bind)
    #expect(state(.legacyOnly).readiness == .no)
    try bind()
    #expect(state().readiness == .yes)
    try tree.sibling("0000:00:07.0", driver: nil)
    #expect(state().readiness == .yes)
    try tree.sibling("0000:00:06.0", driver: "e1000e")
    #expect(state().readiness == .no)
  }

  @Test("a disk in use and a function that a process has are not ready, and say why")
  func unready() throws {
    try tree.process(2, namespace: "2", mounts: ["4 1 254:16 / /data rw - ext4 none rw"])
    #expect(state().readiness == .no)
    #expect(state().use == "in use: vdb is mounted at /data (seen by process 2)")
    try tree.remove("proc/2")
    try bind()
    try tree.process(4_242, name: "vblk", open: ["\(tree.root)/dev/vfio/17"])
    #expect(state().readiness == .no)
    #expect(state().use == "held by process 4242 (vblk)")
  }

  @Test("JSON has readiness, holder and siblings; -v names them")
  func report() throws {
    try bind()
    try tree.sibling("0000:00:06.0", driver: "e1000e")
    try tree.process(4_242, name: "vblk", open: ["\(tree.root)/dev/vfio/17"])
    let json = FunctionReport.json([state()])
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
    let function = try #require((object["functions"] as? [[String: Any]])?.first)
    #expect(function["ready"] as? Bool == false)
    #expect(function["held_by"] as? Int == 4_242)
    #expect(function["siblings"] as? [String] == ["0000:00:06.0"])
    #expect(function["driver"] as? String == "vfio-pci")
    let text = FunctionReport.text([state()], isVerbose: true)
    #expect(text.contains("group with 0000:00:06.0 (e1000e)"))
    #expect(text.contains("held by    process 4242 (vblk), by \(tree.root)/dev/vfio/17"))
  }
}
