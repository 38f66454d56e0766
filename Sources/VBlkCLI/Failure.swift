internal import ArgumentParser
internal import Glibc
internal import PCI
internal import VBlk

/// Why a command ends: one line on stderr and an exit code.
struct Failure: Error, Equatable {
  let status: ExitReason
  let message: String

  /// What was given and what is wrong, what is allowed in its place, what to do.
  init(_ status: ExitReason, _ cause: String, allowed: String = "", remedy: String = "") {
    self.status = status
    let advice = [allowed, remedy].filter { !$0.isEmpty }.joined(separator: "; ")
    message = advice.isEmpty ? cause : "\(cause): \(advice)"
  }

  /// The failure that an error of the libraries is to a user of the command line.
  init(_ error: any Error) {
    switch error {
    case let failure as Failure: self = failure
    case let error as AddressError:
      self.init(.usage, error.cause, allowed: error.allowed, remedy: error.remedy)
    case let error as PCIError:
      self.init(Self.status(of: error.code), error.cause, remedy: error.remedy)
    case let error as VBlkError:
      self.init(Self.status(of: error.code), error.cause, remedy: error.remedy)
    case let error as DMAError:
      self.init(.busy, error.cause, remedy: error.remedy)
    default: self.init(.ioError, String(describing: error))
    }
  }

  static func status(of code: PCIError.Code) -> ExitReason {
    switch code {
    case .notFound, .unsupported, .removed: .unavailable
    case .permission: .permission
    case .busy: .busy
    case .refused: .refused
    case .outOfRange: .usage
    case .system: .ioError
    }
  }

  static func status(of code: VBlkError.Code) -> ExitReason {
    switch code {
    case .noSpace, .invalidArgument, .tooLarge: .usage
    case .noImage: .noInput
    case .unsupported, .removed, .closed, .deviceUnavailable: .unavailable
    case .readOnly: .refused
    case .busy, .resetting, .suspended, .held, .noMemory: .busy
    case .permission: .permission
    case .ioError, .fault, .foreignMemory, .reset, .timedOut, .protocolViolation, .shortTransfer,
      .system, .unknownStatus, .zoneInvalidCommand, .zoneUnalignedWritePointer, .zoneOpenResource,
      .zoneActiveResource:
      .ioError
    }
  }

  /// What goes to stderr: never more than one line.
  var line: String {
    "vblk: " + message.split(whereSeparator: \.isNewline).joined(separator: " ") + "\n"
  }

  /// Ends the process as the error demands. A request for help is no failure.
  static func end(with error: any Error) -> Never {
    let status = Vblk.exitCode(for: error).rawValue
    if error is CleanExit || status == 0 {
      Terminal.write(Vblk.fullMessage(for: error) + "\n", to: STDOUT_FILENO)
      exit(0)
    }
    let isParserError = status == ArgumentParser.ExitCode.validationFailure.rawValue
    let failure =
      isParserError
      ? Failure(.usage, Vblk.message(for: error) + " (see `vblk help`)") : Failure(error)
    Terminal.write(failure.line, to: STDERR_FILENO)
    exit(failure.status.rawValue)
  }
}
