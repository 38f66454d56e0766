/// A driver that gives a function to processes.
public enum UserDriver: String, Sendable, CaseIterable {
  /// DMA through the IOMMU, interrupts, reset: the one to use where it can be used.
  case vfio = "vfio-pci"
  /// Registers only: physical addresses, no IOMMU, root.
  case uio = "uio_pci_generic"
}

/// What a user wants of a bind.
public struct BindRequest: Sendable, Equatable {
  /// The function.
  public var address: PCIAddress
  /// The driver to bind it to.
  public var driver: UserDriver
  /// Whether vfio-pci may be used without an IOMMU: unsafe, for the whole machine.
  public var allowsNoIOMMU: Bool
  /// Whether data on the disk may be overridden. Use of the disk never can be.
  public var overridesData: Bool

  /// Makes a request: vfio-pci behind an IOMMU, and every rail up, unless said.
  public init(
    _ address: PCIAddress, driver: UserDriver = .vfio, allowsNoIOMMU: Bool = false,
    overridesData: Bool = false
  ) {
    self.address = address
    self.driver = driver
    self.allowsNoIOMMU = allowsNoIOMMU
    self.overridesData = overridesData
  }
}

/// What a bind or unbind does to the system, step by step.
public struct BindPlan: Sendable, Equatable {
  /// The function.
  public let address: PCIAddress
  /// The driver that has it before.
  public let driverBefore: String?
  /// The driver that must have it after; nil where it's left without one, or any will do.
  public let driverAfter: String?
  /// The steps, in order; none where all is as wanted.
  public let steps: [BindStep]
  /// What the user should know first: siblings in the IOMMU group, a process that was killed.
  public let notes: [String]

  /// What to remember before the first step; nil where the record stays as it is.
  let record: BindRecord?
  /// The disk that must stay unused until the function is taken: "vdb".
  let disk: String?
}

extension UserDriver {
  /// Whether a driver is none of the kernel's own: what has it does nothing by itself.
  static func isIdle(_ driver: String?) -> Bool {
    driver == nil || driver.flatMap(UserDriver.init(rawValue:)) != nil
  }
}
