/// A failure of the emulator: what failed, the values seen, and what to do about it.
public struct EmulatorError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of failure it is.
  public enum Code: Sendable, Equatable {
    /// No file at that path.
    case notFound
    /// The system refuses access.
    case permission
    /// What is at that path can't be a disk: a directory, a device, an empty or truncated file.
    case invalidImage
    /// A configuration that no disk can have.
    case invalidArgument
    /// Another process has the image's zones.
    case busy
    /// The system gave no memory.
    case noMemory
    /// The request of a handle is gone: used, or cancelled by a reset.
    case staleRequest
    /// The call does not fit the mode that the disk runs in, or the step comes out of turn.
    case wrongState
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
