internal import PCI
internal import VBlk

/// A function as `vblk list` shows it: what a scan found, and who drives it.
struct FunctionState {
  /// What is left to do before it can be driven.
  enum Readiness: String {
    /// Nothing: it's bound to a driver for processes, and nobody has it.
    case yes
    /// `vblk bind`.
    case bind
    /// Something else: it's in use, held, or can't be driven.
    case no
  }

  let scanned: ScannedFunction
  /// The process that has it, as far as this user can see.
  let holder: Holder?
  /// What shares its IOMMU group.
  let siblings: [IOMMUGroup.Sibling]

  init(_ scanned: ScannedFunction, roots: SystemRoots) {
    let node = FunctionNode(scanned.identity.address, roots: roots)
    self.scanned = scanned
    holder = (try? node.holder) ?? nil
    siblings = (try? node.iommuGroup)?.siblings ?? []
  }

  var readiness: Readiness {
    guard scanned.use == .free, holder == nil, scanned.identity.interface != .legacyOnly else {
      return .no
    }
    let isBound = scanned.kernelDriver.flatMap(UserDriver.init(rawValue:)) != nil
    return !isBound ? .bind : siblings.contains(where: \.isInTheWay) ? .no : .yes
  }

  /// Why it's not free, in few words; "free" where it is.
  var use: String {
    if let holder { return "held by \(holder)" }
    guard let first = scanned.use.reasons.first else { return "free" }
    let more = scanned.use.reasons.count - 1
    return "in use: \(first)" + (more > 0 ? " and \(more) more" : "")
  }
}
