/// A device string or a size that can't be read: what was given, what is allowed, what to do.
public struct AddressError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What was given and what is wrong with it.
  public let cause: String
  /// What is allowed in its place.
  public let allowed: String
  /// What to do about it.
  public let remedy: String

  /// Makes an error.
  public init(_ cause: String, allowed: String, remedy: String) {
    self.cause = cause
    self.allowed = allowed
    self.remedy = remedy
  }

  /// One line: cause, what is allowed, remedy.
  public var description: String { "\(cause): \(allowed); \(remedy)" }
}
