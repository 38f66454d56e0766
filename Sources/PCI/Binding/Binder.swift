internal import Glibc

/// Takes functions away from the kernel's drivers for processes to drive, and gives them back.
///
/// A plan is made by reading alone. What is then done is the plan's steps, one after the other,
/// under the function's lock, with the disk claimed so that nobody can begin to use it in between;
/// a step that fails is undone together with those before it.
public struct Binder: Sendable {
  package typealias Perform = @Sendable (BindStep) throws(BindStepFailure) -> Void

  private let roots: SystemRoots
  private let perform: Perform

  /// Makes a binder of this machine.
  public init() {
    self.init(roots: SystemRoots()) { (step) throws(BindStepFailure) in try step.perform() }
  }

  /// Makes a binder of a tree that looks like a machine, where `perform` is the kernel.
  package init(roots: SystemRoots, perform: @escaping Perform) {
    self.roots = roots
    self.perform = perform
  }

  /// What ``bind(_:)`` would do. Changes nothing.
  ///
  /// - Parameter request: The function, the driver, and what may be overridden.
  /// - Returns: The steps, and what to know first.
  /// - Throws: ``PCIError``: `.refused` by a rail, `.busy` where a process has it, `.unsupported`
  ///   without what the driver needs, `.notFound`, `.removed`, `.permission`.
  public func plan(_ request: BindRequest) throws(PCIError) -> BindPlan {
    try plan(request, killed: FunctionLock.processKilled(request.address, roots: roots))
  }

  /// Binds a function to a driver that gives it to processes.
  ///
  /// - Parameter request: The function, the driver, and what may be overridden.
  /// - Returns: What was done.
  /// - Throws: As ``plan(_:)``, and where a step fails; the function is then as it was.
  public func bind(_ request: BindRequest) throws(PCIError) -> BindPlan {
    // Refused is refused before even the lock's file is made.
    _ = try plan(request)
    return try underLock(request.address) { killed throws(PCIError) in
      try plan(request, killed: killed)
    }
  }

  /// What ``unbind(_:)`` would do. Changes nothing.
  public func planUnbind(_ address: PCIAddress) throws(PCIError) -> BindPlan {
    try planUnbind(address, killed: FunctionLock.processKilled(address, roots: roots))
  }

  /// Gives a function back to the driver that it had.
  ///
  /// - Parameter address: The function.
  /// - Returns: What was done; no steps where a driver of the kernel has it.
  /// - Throws: ``PCIError``: `.busy` where a process drives it, `.notFound`, `.permission`, and
  ///   where a step fails.
  public func unbind(_ address: PCIAddress) throws(PCIError) -> BindPlan {
    guard try !planUnbind(address).steps.isEmpty else { return try planUnbind(address) }
    let plan = try underLock(address) { killed throws(PCIError) in
      try planUnbind(address, killed: killed)
    }
    BindRecord.remove(address, roots: roots)
    return plan
  }

  private func plan(
    _ request: BindRequest, killed: Int?
  ) throws(PCIError) -> BindPlan {
    let function = FunctionNode(request.address, roots: roots)
    let rails = BindRails(function)
    try rails.exists()
    let scanned = PCIScan(roots: roots).describe([try function.identity])[0]
    try rails.use(scanned)
    try rails.holder()
    if !request.overridesData { try rails.data() }
    try rails.driver(request.driver)
    if request.driver == .vfio { try rails.iommu(allowsNoIOMMU: request.allowsNoIOMMU) }
    return try BindSteps(function, killed: killed).bind(request, disk: scanned.blockNode)
  }

  private func planUnbind(_ address: PCIAddress, killed: Int?) throws(PCIError) -> BindPlan {
    let function = FunctionNode(address, roots: roots)
    let rails = BindRails(function)
    try rails.exists()
    if UserDriver.isIdle(try function.driver) { try rails.holder() }
    return try BindSteps(function, killed: killed).unbind()
  }

  private func underLock(
    _ address: PCIAddress, _ plan: (Int?) throws(PCIError) -> BindPlan
  ) throws(PCIError) -> BindPlan {
    let lock = try FunctionLock.take(address, roots: roots)
    do throws(PCIError) {
      let plan = try plan(lock.processKilled)
      try carryOut(plan)
      lock.release()
      return plan
    } catch {
      lock.release(processKilled: lock.processKilled)
      throw error
    }
  }

  private func carryOut(_ plan: BindPlan) throws(PCIError) {
    guard !plan.steps.isEmpty else { return }
    let claim = try claim(plan)
    defer { if let claim { close(claim) } }
    try plan.record?.write(plan.address, roots: roots)
    for step in plan.steps {
      do throws(BindStepFailure) {
        try perform(step)
      } catch {
        let failure = BindFailure(error, plan, roots: roots)
        // What the kernel is still waiting in can't be undone under it.
        throw failure.isUnderWay ? failure.error : undone(plan, after: failure.error)
      }
    }
    try verify(plan)
  }

  /// D13: what drivers_probe says is not always what came of it.
  private func verify(_ plan: BindPlan) throws(PCIError) {
    guard let wanted = plan.driverAfter else { return }
    let driver = try FunctionNode(plan.address, roots: roots).driver
    guard driver != wanted else { return }
    let error = PCIError(
      .system,
      "failed to bind \(plan.address) to \(wanted): its driver is \(driver ?? "none") (D13)",
      remedy: "see `dmesg | tail`, and `vblk doctor \(plan.address)`")
    throw undone(plan, after: error)
  }

  /// Undoes what was done, as far as it can be, and says which it is.
  private func undone(_ plan: BindPlan, after error: PCIError) -> PCIError {
    guard let record = plan.record else { return error }
    let function = FunctionNode(plan.address, roots: roots)
    for step in (try? BindSteps(function, killed: nil).undo(record)) ?? [] { try? perform(step) }
    let before = plan.driverBefore ?? "no driver"
    guard let driver = try? function.driver ?? "no driver", driver == before else {
      return PCIError(
        error.code, "\(error.cause); \(before) had it before",
        remedy: "\(error.remedy); `vblk unbind \(plan.address)` gives it back")
    }
    BindRecord.remove(plan.address, roots: roots)
    return PCIError(error.code, "\(error.cause); \(before) has it again", remedy: error.remedy)
  }

  /// Nobody can mount, swap to or stack on a disk that is claimed.
  private func claim(_ plan: BindPlan) throws(PCIError) -> CInt? {
    guard let disk = plan.disk else { return nil }
    let path = "\(roots.dev)/\(disk)"
    let descriptor = unsafe open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw PCIError(
        .refused, "\(plan.address) is in use: \(path): \(unsafe String(cString: strerror(errno)))",
        remedy: "find who has \(path): lsblk, mount, swapon, fuser")
    }
    return descriptor
  }
}
