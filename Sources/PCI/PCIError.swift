/// A failure of a PCI function or of the bus: what failed, the values seen, and what to do.
public struct PCIError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of failure it is.
  public enum Code: Sendable, Equatable {
    /// No such function.
    case notFound
    /// The system refuses access.
    case permission
    /// Another process, or a kernel driver, has the function.
    case busy
    /// A safety rail: the function's disk is in use, or has data.
    case refused
    /// An access outside the function's space.
    case outOfRange
    /// The function or the system can't do this.
    case unsupported
    /// The function no longer answers.
    case removed
    /// A call of the system failed.
    case system
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
