/// The exit codes of vblk: those of sysexits.h where one fits.
enum ExitReason: Int32, CaseIterable {
  /// All was done.
  case success = 0
  /// compare or verify found a difference.
  case mismatch = 1
  /// doctor found something that keeps a device from working.
  case unhealthy = 2
  /// The command line, a device string or a range makes no sense.
  case usage = 64
  /// An image is missing or unreadable.
  case noInput = 66
  /// The device isn't there, or can't be driven.
  case unavailable = 69
  /// A safety rail, or a read-only device.
  case refused = 73
  /// The device or the store failed.
  case ioError = 74
  /// Held by somebody else, or busy.
  case busy = 75
  /// The system refuses access.
  case permission = 77
  /// Stopped by ^C, after the queue was drained.
  case interrupted = 130
}
