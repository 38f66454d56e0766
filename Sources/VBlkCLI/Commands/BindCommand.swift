internal import ArgumentParser
internal import PCI
internal import VBlk

/// `vblk bind`: takes a disk from the kernel, for processes to drive.
struct BindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bind",
    abstract: "Takes a virtio-blk function from the kernel, so that vblk can drive it.",
    discussion: """
      Refused where anything uses the disk (no option overrides that), and where there is data on \
      it. `vblk unbind` gives it back.
      """)

  @Argument(help: "The function: pci:0000:00:05.0, or 00:05.0.")
  var device: String

  @Option(
    help: "vfio-pci, or uio_pci_generic (without an IOMMU's protection; root).",
    transform: Self.driver)
  var driver: UserDriver = .vfio

  @Flag(help: "Let vfio-pci work without an IOMMU: unsafe, and for the whole machine.")
  var noIommu = false

  @Flag(help: "Take a disk that has data: what is on it stays until it's written to.")
  var forceData = false

  @Flag(help: "Print what would be done to the system, as lines for a shell, and do nothing.")
  var dryRun = false

  func run() throws {
    let request = BindRequest(
      try FunctionArgument.address(device), driver: driver, allowsNoIOMMU: noIommu,
      overridesData: forceData)
    try FunctionBinding().bind(request, dryRun: dryRun)
  }

  private static func driver(_ name: String) throws -> UserDriver {
    guard let driver = UserDriver(rawValue: name) else {
      throw ValidationError(
        "allowed are " + UserDriver.allCases.map(\.rawValue).joined(separator: " and "))
    }
    return driver
  }
}

/// `vblk unbind`: gives a function back to the driver that it had.
struct UnbindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unbind",
    abstract: "Gives a function back to the driver that it had before `vblk bind`.")

  @Argument(help: "The function: pci:0000:00:05.0, or 00:05.0.")
  var device: String

  @Flag(help: "Print what would be done to the system, as lines for a shell, and do nothing.")
  var dryRun = false

  func run() throws {
    try FunctionBinding().unbind(try FunctionArgument.address(device), dryRun: dryRun)
  }
}
