internal import Glibc

/// Writes to the standard streams: unbuffered, whole, and quiet about a reader that has gone.
enum Terminal {
  /// Writes all of the text, or as much as the reader takes.
  static func write(_ text: String, to descriptor: CInt) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes { bytes in
        unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Writes a line to stdout.
  static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

  /// Whether progress may be shown: only a person at a terminal wants it.
  static var showsProgress: Bool { isatty(STDERR_FILENO) == 1 }
}
