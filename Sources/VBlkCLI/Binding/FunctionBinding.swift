internal import Glibc
internal import PCI
internal import VBlk

/// What `vblk bind` and `vblk unbind` do: the bus's rails, and those that know virtio.
struct FunctionBinding {
  private let roots: SystemRoots
  private let binder: Binder
  private let write: (_ text: String, _ descriptor: CInt) -> Void

  /// Milliseconds that a disk may take to come back.
  private static let comeBackMillisecondsMax = 10_000

  init() {
    roots = SystemRoots()
    binder = Binder()
    write = { Terminal.write($0, to: $1) }
  }

  /// On a tree that looks like a machine; what is written goes to `write`.
  init(roots: SystemRoots, binder: Binder, write: @escaping (String, CInt) -> Void) {
    self.roots = roots
    self.binder = binder
    self.write = write
  }

  func bind(_ request: BindRequest, dryRun: Bool) throws {
    let function = VirtioFunction(FunctionNode(request.address, roots: roots))
    try function.isBlockDevice()
    let plan = try binder.plan(request)
    try function.isDrivable(through: request.driver)
    for note in plan.notes { write("vblk: \(note)\n", STDERR_FILENO) }
    guard !dryRun else { return show(plan) }
    let done = try binder.bind(request)
    let before = done.driverBefore ?? "no driver"
    let change =
      done.steps.isEmpty
      ? "bound to \(before) already"
      : before == request.driver.rawValue
        ? "bound to \(before) already, stopped and reset"
        : "\(before) -> \(request.driver.rawValue)"
    write("\(done.address): \(change); use pci:\(done.address)\n", STDOUT_FILENO)
  }

  func unbind(_ address: PCIAddress, dryRun: Bool) throws {
    try VirtioFunction(FunctionNode(address, roots: roots)).isBlockDevice()
    let plan = try binder.planUnbind(address)
    for note in plan.notes { write("vblk: \(note)\n", STDERR_FILENO) }
    guard !dryRun else { return show(plan) }
    let done = try binder.unbind(address)
    guard !done.steps.isEmpty else { return }
    let node = FunctionNode(address, roots: roots)
    let driver = try node.driver
    let change = "\(address): \(done.driverBefore ?? "no driver") -> \(driver ?? "no driver")"
    guard driver == "virtio-pci" else { return write(change + "\n", STDOUT_FILENO) }
    let disk = try blockNode(of: node)
    write(
      change + (disk.map { "; the disk is /dev/\($0)" } ?? "; no disk has come back in 10 s")
        + "\n",
      STDOUT_FILENO)
  }

  private func show(_ plan: BindPlan) {
    write(plan.steps.map { "\($0)\n" }.joined(), STDOUT_FILENO)
  }

  /// The disk that the kernel makes of the function, once it's there.
  private func blockNode(of node: FunctionNode) throws -> String? {
    for _ in 0..<Self.comeBackMillisecondsMax / 10 {
      let found = PCIScan(roots: roots).describe([try node.identity])[0].blockNode
      if let found, SystemRoots.exists("\(roots.dev)/\(found)") { return found }
      _ = poll(nil, 0, 10)
    }
    return nil
  }
}
