import Foundation
import Synchronization

@testable import PCI

/// A kernel for a fake tree: does to its files what a real one does when a step of a bind is done
/// to it, and keeps the steps.
final class FakeKernel: Sendable {
  /// What it does otherwise than asked.
  struct Fault {
    /// The step that fails, counted from 0, and its errno.
    var failing: (step: Int, errno: CInt)?
    /// Probes say nothing and bind nothing.
    var probesInVain = false
    /// Modules that modprobe can't find.
    var missingModules: Set<String> = []
  }

  private let tree: FakeTree
  private let fault: Fault
  private let record = Mutex<[BindStep]>([])

  init(_ tree: FakeTree, fault: Fault = Fault()) {
    self.tree = tree
    self.fault = fault
  }

  /// All steps that were asked for, those that failed too.
  var steps: [BindStep] { record.withLock { $0 } }

  var binder: Binder {
    Binder(roots: tree.roots) { [self] (step) throws(BindStepFailure) in try perform(step) }
  }

  func perform(_ step: BindStep) throws(BindStepFailure) {
    let number = record.withLock { steps in
      steps.append(step)
      return steps.count - 1
    }
    if let failing = fault.failing, failing.step == number {
      throw BindStepFailure(step: step, errno: failing.errno)
    }
    let error: CInt
    do {
      error = try result(of: step)
    } catch {
      preconditionFailure("the fake tree is not as the fake kernel wants it: \(error)")
    }
    guard error == 0 else { throw BindStepFailure(step: step, errno: error) }
  }

  private func result(of step: BindStep) throws -> CInt {
    switch step {
    case .loadModule(let name):
      guard !fault.missingModules.contains(name) else { return ENODEV }
      let noIOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
      if name == "vfio" { try tree.write(noIOMMU, "N\n") }
      try tree.directory("sys/module/\(name)")
      try tree.directory("sys/bus/pci/drivers/\(name)")
    case .stopBusMaster(let config, let command):
      var bytes = FakeTree.config(command: command)
      bytes[4] = UInt8(truncatingIfNeeded: command)
      try Data(bytes).write(to: URL(filePath: config))
    case .write(let path, let line): return try write(line, to: path)
    }
    return 0
  }

  private func write(_ line: String, to path: String) throws -> CInt {
    let function = FakeTree.function
    switch path.dropFirst(tree.root.count + 1) {
    case "\(function)/driver_override":
      try tree.write("\(function)/driver_override", line.isEmpty ? "(null)\n" : "\(line)\n")
    case "\(function)/driver/unbind":
      guard tree.exists("\(function)/driver") else { return ENOENT }
      try unbind()
    case "sys/bus/pci/drivers_probe":
      return fault.probesInVain ? 0 : try probe()
    case "\(function)/reset": break
    case let parameter where parameter.hasPrefix("sys/module/"):
      try tree.write(String(parameter), "\(line)\n")
    default: return ENOENT
    }
    return 0
  }

  private var driver: String? {
    (try? SystemRoots.linkName(at: "\(tree.root)/\(FakeTree.function)/driver")) ?? nil
  }

  private func unbind() throws {
    let function = FakeTree.function
    if driver == "virtio-pci" {
      try tree.move("\(function)/virtio3", to: "away")
      try tree.move("dev/vdb", to: "away-vdb")
    }
    try tree.remove("\(function)/driver")
  }

  private func probe() throws -> CInt {
    let function = FakeTree.function
    guard driver == nil else { return 0 }
    let only = try tree.text("\(function)/driver_override")
    let chosen = only == "(null)\n" ? "virtio-pci" : String(only.dropLast())
    guard tree.exists("sys/bus/pci/drivers/\(chosen)") else { return 0 }
    let noIOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    if chosen == "vfio-pci", !tree.exists("\(function)/iommu_group"),
      (try? tree.text(noIOMMU)) != "Y\n"
    {
      return EINVAL
    }
    try tree.link("\(function)/driver", to: "../../../bus/pci/drivers/\(chosen)")
    if chosen == "virtio-pci" {
      try tree.move("away", to: "\(function)/virtio3")
      try tree.move("away-vdb", to: "dev/vdb")
    }
    return 0
  }
}
