internal import Glibc

/// What a step that failed means to a user.
struct BindFailure {
  let error: PCIError
  /// Whether the kernel has not come back from the step.
  let isUnderWay: Bool

  init(_ failure: BindStepFailure, _ plan: BindPlan, roots: SystemRoots) {
    error = Self.error(failure, plan, roots: roots)
    isUnderWay = failure.errno == ETIMEDOUT
  }

  private static func error(
    _ failure: BindStepFailure, _ plan: BindPlan, roots: SystemRoots
  ) -> PCIError {
    let reason = unsafe String(cString: strerror(failure.errno))
    let cause = "\(plan.address): `\(failure.step)` failed: \(reason)"
    switch (failure.errno, failure.step) {
    case (ENOENT, .write(let path, _)) where path.hasSuffix("/enable_unsafe_noiommu_mode"):
      return PCIError(
        .unsupported, "this kernel's vfio has no no-IOMMU mode: there is no \(path)",
        remedy: "--driver uio_pci_generic needs none; or a kernel with CONFIG_VFIO_NOIOMMU")
    case (EACCES, _), (EPERM, _), (EROFS, _):
      return PCIError(.permission, cause, remedy: "run as root")
    case (ETIMEDOUT, _):
      return PCIError(
        .busy, cause + held(plan.address, roots: roots),
        remedy: "end the process that has the function; the kernel goes on by itself then (D04)")
    case (EBUSY, _):
      return PCIError(
        .busy, cause + held(plan.address, roots: roots), remedy: "end the process that has it (D04)"
      )
    case (_, .loadModule(let name)):
      return PCIError(
        .unsupported, "this kernel has no \(name): `\(failure.step)` failed (D12)",
        remedy: "Debian: apt install linux-image-amd64, then boot that kernel")
    case (EINVAL, _) where plan.driverAfter == UserDriver.vfio.rawValue:
      return PCIError(
        .unsupported, cause + " (D13)",
        remedy: "vfio-pci wants an IOMMU group, and there is none (D01): see `vblk doctor`")
    case (ENODEV, _), (ENOENT, _):
      return PCIError(
        .unsupported, cause + " (D13)", remedy: "see `dmesg | tail`, and `vblk doctor`")
    default:
      return PCIError(.system, cause + " (D13)", remedy: "see `dmesg | tail`")
    }
  }

  private static func held(_ address: PCIAddress, roots: SystemRoots) -> String {
    let holder = try? FunctionNode(address, roots: roots).holder
    return holder.map { "; \($0) has it" } ?? ""
  }
}
