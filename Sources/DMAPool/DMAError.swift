/// A failure of the DMA memory: what failed, the values seen, and what to do about it.
public struct DMAError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of failure it is.
  public enum Code: Sendable, Equatable {
    /// The system gave no memory, or not of the kind asked for.
    case noMemory
    /// The arena or pool has no room left.
    case exhausted
    /// A size, alignment or address that makes no sense.
    case invalidArgument
    /// The device refuses the mapping.
    case mapRefused
    /// Memory is still in use: buffers are out, or transfers in flight.
    case inUse
    /// The memory has no stable device address without an IOMMU.
    case notPinnable
    /// Locking pages was refused.
    case lockRefused
    /// The arena is not, or no longer, attached to the device.
    case notAttached
    /// The arena has been closed.
    case closed
  }

  /// What kind of failure it is.
  public let code: Code
  /// What failed and the values seen.
  public let cause: String
  /// What to do about it.
  public let remedy: String

  /// Makes an error.
  public init(_ code: Code, _ cause: String, remedy: String) {
    self.code = code
    self.cause = cause
    self.remedy = remedy
  }

  /// One line: cause, then remedy.
  public var description: String { remedy.isEmpty ? cause : "\(cause): \(remedy)" }
}
