/// A failure: what failed, the values seen, and what to do about it.
public struct VBlkError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of failure it is. One byte, so that the data plane can carry it too.
  @frozen
  public enum Code: UInt8, Sendable, CaseIterable {
    /// The device answered IOERR.
    case ioError = 1
    /// The device does not know the request, or did not offer the feature it needs.
    case unsupported
    /// A write to a read-only device.
    case readOnly
    /// A write that reaches beyond the end of the device; nothing was written.
    case noSpace
    /// An argument that makes no sense: a negative, overflowing or empty range.
    case invalidArgument
    /// An operation that can't be split to the device's limits.
    case tooLarge
    /// A page of the operation's memory that the device can't reach.
    case fault
    /// Memory that this device has not mapped.
    case foreignMemory
    /// No slot, credit or bounce block is free; after a Completion is delivered there is one.
    case busy
    /// A reset of the device is under way.
    case resetting
    /// The device is suspended; ``Device/resume()`` lets it go on.
    case suspended
    /// The operation was in flight when the device was reset, or ended by it: whether it was
    /// carried out is unknown.
    case reset
    /// The operation took longer than its deadline; the device was reset.
    case timedOut
    /// The device broke the protocol; ``Queue/error(for:)`` names the rule.
    case protocolViolation
    /// The device says that it transferred less than was asked for.
    case shortTransfer
    /// The device is gone.
    case removed
    /// The device or queue is closed.
    case closed
    /// The device can't be used: no virtio capabilities, features or status refused.
    case deviceUnavailable
    /// The system or the arena gave no memory.
    case noMemory
    /// The bus or the system failed.
    case system
    /// The system refuses access.
    case permission
    /// Another process, or a kernel driver, has the device.
    case held
    /// An image is missing, truncated or unreadable.
    case noImage
    /// The device answered with a status that has no meaning (virtio 1.3, 5.2.6).
    case unknownStatus
    /// A zone command in the wrong place or state (virtio 1.3, 5.2.6).
    case zoneInvalidCommand
    /// A write off the zone's write pointer (virtio 1.3, 5.2.6).
    case zoneUnalignedWritePointer
    /// Too many open zones (virtio 1.3, 5.2.6).
    case zoneOpenResource
    /// Too many active zones (virtio 1.3, 5.2.6).
    case zoneActiveResource
  }

  /// What kind of failure it is.
  public let code: Code
  /// What failed and the values seen.
  public let cause: String
  /// What to do about it.
  public let remedy: String

  /// Makes an error.
  public init(_ code: Code, _ cause: String, remedy: String = "") {
    self.code = code
    self.cause = cause
    self.remedy = remedy
  }

  /// One line: cause, then remedy.
  public var description: String { remedy.isEmpty ? cause : "\(cause): \(remedy)" }
}

extension VBlkError {
  /// A failure of the DMA memory, as the driver's.
  init(_ error: DMAError) {
    let code: Code =
      switch error.code {
      case .noMemory, .exhausted, .lockRefused: .noMemory
      case .invalidArgument, .inUse: .invalidArgument
      case .mapRefused, .notPinnable: .deviceUnavailable
      case .notAttached: .foreignMemory
      case .closed: .closed
      }
    self.init(code, error.cause, remedy: error.remedy)
  }

  /// A failure of the PCI function, as the driver's.
  package init(_ error: PCIError) {
    let code: Code =
      switch error.code {
      case .notFound, .outOfRange, .unsupported: .deviceUnavailable
      case .permission: .permission
      case .busy, .refused: .held
      case .removed: .removed
      case .system: .system
      }
    self.init(code, error.cause, remedy: error.remedy)
  }
}
