/// Makes the steps of a bind and of an unbind, from what the function is now.
struct BindSteps {
  private let function: FunctionNode
  private let killed: Int?
  private let sys: String

  /// `killed` is a process that was killed while it had the function.
  init(_ function: FunctionNode, killed: Int?) {
    self.function = function
    self.killed = killed
    sys = function.roots.sys
  }

  func bind(_ request: BindRequest, disk: String?) throws(PCIError) -> BindPlan {
    let before = try function.driver
    let wanted = request.driver.rawValue
    var steps = try quiet()
    if before != wanted {
      steps += try modules(request)
      steps.append(driverOverride(wanted))
      if before != nil { steps.append(unbindDriver) }
      steps.append(probe)
    }
    let kept = try BindRecord.read(request.address, roots: function.roots)
    // A record stays while the function is away: it names what had it first.
    let record =
      before == wanted || kept != nil && UserDriver.isIdle(before)
      ? nil : BindRecord(driver: before, driverOverride: try function.driverOverride)
    return BindPlan(
      address: request.address, driverBefore: before, driverAfter: wanted, steps: steps,
      notes: try leftBehind() + siblings(request), record: record, disk: disk)
  }

  func unbind() throws(PCIError) -> BindPlan {
    let before = try function.driver
    let record = try BindRecord.read(function.address, roots: function.roots)
    let isAway = UserDriver.isIdle(before)
    var steps: [BindStep] = []
    if isAway {
      steps = try quiet()
      steps += record.map { restored($0, from: before) } ?? released(from: before)
    } else if let only = try function.driverOverride, only != before {
      // What is left of a bind that failed, or of a hand that set it: the next probe would obey it.
      steps = [driverOverride(record?.driverOverride)]
    }
    return BindPlan(
      address: function.address, driverBefore: before,
      driverAfter: isAway ? record?.driver : before, steps: steps,
      notes: isAway
        ? try leftBehind()
        : ["\(before ?? "") has \(function.address): nothing to give back"],
      record: nil, disk: nil)
  }

  /// What makes a function again what a record says, after a bind that went wrong somewhere.
  func undo(_ record: BindRecord) throws(PCIError) -> [BindStep] {
    let driver = try function.driver
    return driver == record.driver
      ? [driverOverride(record.driverOverride)] : restored(record, from: driver)
  }

  /// Back to the driver of a record, whatever else would take the function, and to its override.
  private func restored(_ record: BindRecord, from current: String?) -> [BindStep] {
    let unbind = current == nil ? [] : [unbindDriver]
    guard let driver = record.driver else {
      return [driverOverride(record.driverOverride)] + unbind
    }
    let steps = [driverOverride(driver)] + unbind + [probe]
    return driver == record.driverOverride ? steps : steps + [driverOverride(record.driverOverride)]
  }

  /// To whichever driver wants it: nobody remembers what it had.
  private func released(from current: String?) -> [BindStep] {
    [driverOverride(nil)] + (current == nil ? [] : [unbindDriver]) + [probe]
  }

  /// Stops a function that nobody stopped: bus mastering first, since it may still be writing, then
  /// a reset where it has one.
  private func quiet() throws(PCIError) -> [BindStep] {
    guard try function.leftBehind(killed: killed) != nil else { return [] }
    var steps: [BindStep] = []
    let command = try function.command
    if command & FunctionNode.busMaster != 0 {
      steps.append(
        .stopBusMaster(
          config: "\(function.directory)/config", command: command & ~FunctionNode.busMaster))
    }
    let reset = "\(function.directory)/reset"
    if SystemRoots.exists(reset) { steps.append(.write(path: reset, line: "1")) }
    return steps
  }

  private func leftBehind() throws(PCIError) -> [String] {
    try function.leftBehind(killed: killed).map { ["\($0): it's stopped and reset first (D17)"] }
      ?? []
  }

  private func siblings(_ request: BindRequest) throws(PCIError) -> [String] {
    guard request.driver == .vfio, let group = try function.iommuGroup, !group.isNoIOMMU,
      !group.siblings.isEmpty
    else { return [] }
    let all = group.siblings.map(\.description).joined(separator: ", ")
    let inTheWay = group.siblings.filter(\.isInTheWay).map(\.address)
    return ["IOMMU group \(group.number) has other functions too: \(all)"]
      + (inTheWay.isEmpty
        ? []
        : [
          "the group can't be used until \(inTheWay.joined(separator: ", ")) is bound to "
            + "vfio-pci too, or has no driver (D02)"
        ])
  }

  private func modules(_ request: BindRequest) throws(PCIError) -> [BindStep] {
    let modules = KernelModules(roots: function.roots)
    var steps: [BindStep] = []
    if request.driver == .vfio, try function.iommuGroup.map(\.isNoIOMMU) ?? true {
      let noIOMMUSwitch = BindRails(function).noIOMMUSwitch
      if modules.module("vfio") != .loaded { steps.append(.loadModule("vfio")) }
      if (try? SystemRoots.word(at: noIOMMUSwitch)) != "Y" {
        steps.append(.write(path: noIOMMUSwitch, line: "Y"))
      }
    } else if request.driver == .vfio, modules.module("vfio_iommu_type1") == .loadable {
      // vfio-pci binds without it, and then no process can use the group; not every modprobe knows
      // that the two go together.
      steps.append(.loadModule("vfio_iommu_type1"))
    }
    let name = request.driver.rawValue
    if modules.driver(name) != .loaded { steps.append(.loadModule(name)) }
    return steps
  }

  private func driverOverride(_ driver: String?) -> BindStep {
    .write(path: "\(function.directory)/driver_override", line: driver ?? "")
  }

  private var unbindDriver: BindStep {
    .write(path: "\(function.directory)/driver/unbind", line: "\(function.address)")
  }

  private var probe: BindStep {
    .write(path: "\(sys)/bus/pci/drivers_probe", line: "\(function.address)")
  }
}
