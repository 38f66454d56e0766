internal import Glibc
internal import Synchronization

/// ^C and SIGTERM as a flag that the loops look at: they stop submitting, drain, reset the device.
enum Interrupt {
  private static let requested = Atomic<Bool>(false)

  /// Whether the user wants the command to end.
  static var isRequested: Bool { requested.load(ordering: .relaxed) }

  /// From here on SIGINT and SIGTERM set the flag; a second one ends the process at once, for a
  /// device that never drains. A reader that goes away shows as a failed write, not as a signal.
  static func catchSignals() {
    var action = sigaction()
    action.sa_flags = CInt(bitPattern: UInt32(SA_RESETHAND))
    unsafe action.__sigaction_handler.sa_handler = { _ in
      Interrupt.requested.store(true, ordering: .relaxed)
    }
    var caught = sigset_t()
    unsafe sigemptyset(&caught)
    for signal in [SIGINT, SIGTERM] {
      _ = unsafe sigaction(signal, &action, nil)
      unsafe sigaddset(&caught, signal)
    }
    // A parent's thread pool may have blocked them, and a mask is inherited.
    _ = unsafe pthread_sigmask(SIG_UNBLOCK, &caught, nil)
    _ = signal(SIGPIPE, SIG_IGN)
  }

  /// Ends a loop where the user wants it.
  static func check() throws(Failure) {
    if isRequested { throw Failure(.interrupted, "interrupted; the queue is drained") }
  }
}
