import Virtio

/// The rich error of an operation, built when it is asked for from what the queue recorded.
extension Queue {
  /// Says in full why the last submission was refused, or why an operation failed with `code`.
  ///
  /// - Parameter code: What a submission was refused with, or a completion's code.
  /// - Returns: The cause with the values seen, and what to do about it.
  public func error(for code: VBlkError.Code) -> VBlkError {
    let asked = state.refusal
    let what = "\(asked.operation) of \(asked.byteCount) bytes at byte \(asked.offset)"
    let name = device.info.name
    switch code {
    case .readOnly:
      return VBlkError(code, "\(what): \(name) is read-only", remedy: "choose a writable device")
    case .noSpace:
      return VBlkError(
        code, "\(what) reaches beyond the end of \(name)",
        remedy: "stay within its \(capacity) bytes")
    case .invalidArgument:
      return VBlkError(
        code, "\(what) is not a range of whole \(limits.logicalBlockSize)-byte blocks",
        remedy: "use multiples of \(limits.logicalBlockSize), at most \(capacity) bytes in all")
    case .busy:
      return VBlkError(
        code, "\(what): all \(depth) slots of queue \(index) are taken",
        remedy: "take a completion with next(), then submit again")
    case .fault:
      return VBlkError(
        code, "\(what): a page of its memory is not mapped for \(name)",
        remedy: "register memory without holes")
    case .foreignMemory:
      return VBlkError(
        code, "\(what): its memory is not mapped for \(name)",
        remedy: "allocate from device.memory, or attach the arena to the device")
    case .unsupported:
      return VBlkError(
        code, "\(what): \(name) does not support it",
        remedy: "it offers \(device.info.offered.described.joined(separator: " "))")
    case .protocolViolation:
      let seen = state.lastViolation.map { "\($0)" } ?? "on another queue"
      return VBlkError(
        code, "\(what) ended because \(name) broke the protocol: \(seen)",
        remedy: "report the device; the driver has reset it")
    case .timedOut:
      return VBlkError(
        code, "\(what) took longer than \(device.deadlineNanoseconds / 1_000_000) ms",
        remedy: "the device was reset; whether the operation was carried out is unknown")
    case .ioError:
      return VBlkError(
        code, "\(what) on \(name): the device met an I/O error",
        remedy: "look at what is behind it: its disk may fail, an image's file system be full")
    case .reset, .resetting, .removed:
      return VBlkError(
        code, "\(what) on \(name): \(Self.plainText(code))",
        remedy: code == .removed ? "open it again once it is back" : "try again")
    default: return VBlkError(code, "\(what) on \(name): \(Self.plainText(code))")
    }
  }

  private static func plainText(_ code: VBlkError.Code) -> String {
    switch code {
    case .resetting: "the device is being reset"
    case .reset: "the device was reset; whether the operation was carried out is unknown"
    case .shortTransfer: "the device transferred less than was asked for"
    case .removed: "the device is gone"
    case .closed: "the queue or device is closed"
    default: "\(code)"
    }
  }
}
