internal import Glibc

/// The other side of a read or write: a file, stdin or stdout.
struct FileStream: ~Copyable {
  private let name: String
  private let descriptor: CInt
  private let isOwned: Bool

  /// Opens a file for reading, or stdin for "-".
  init(reading path: String) throws(Failure) {
    name = path == "-" ? "stdin" : path
    isOwned = path != "-"
    descriptor = isOwned ? unsafe open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO
    guard descriptor >= 0 else { throw Self.failure("can't open \(path) for reading", errno) }
    var information = stat()
    guard unsafe fstat(descriptor, &information) == 0, information.st_mode & S_IFMT != S_IFDIR
    else {
      throw Failure(
        .noInput, "\(path) is a directory", allowed: "allowed is a file, or - for stdin")
    }
  }

  /// Makes or empties a file for writing, or takes stdout for "-".
  init(writing path: String) throws(Failure) {
    name = path == "-" ? "stdout" : path
    isOwned = path != "-"
    descriptor =
      isOwned ? unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666) : STDOUT_FILENO
    guard descriptor >= 0 else { throw Self.failure("can't open \(path) for writing", errno) }
  }

  deinit { if isOwned, descriptor >= 0 { close(descriptor) } }

  /// Bytes that are left to read, where that is known before: of a regular file.
  var remainingByteCount: UInt64? {
    var information = stat()
    guard unsafe fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFREG
    else { return nil }
    let position = lseek(descriptor, 0, SEEK_CUR)
    return position < 0 ? nil : UInt64(max(0, information.st_size - position))
  }

  /// Fills the buffer as far as the file goes.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(Failure) -> Int {
    var done = 0
    while done < buffer.count {
      let count = unsafe Glibc.read(
        descriptor, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done)
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR, !Interrupt.isRequested { continue }
        try Interrupt.check()
        throw Self.failure("can't read \(name)", errno)
      }
      done += count
    }
    return done
  }

  /// Writes all of the buffer.
  func write(_ buffer: UnsafeRawBufferPointer) throws(Failure) {
    var done = 0
    while done < buffer.count {
      let count = unsafe Glibc.write(
        descriptor, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done)
      if count < 0 {
        if errno == EINTR, !Interrupt.isRequested { continue }
        try Interrupt.check()
        throw Self.failure("can't write \(name)", errno)
      }
      done += count
    }
  }

  private static func failure(_ what: String, _ number: CInt) -> Failure {
    let cause = unsafe "\(what): \(String(cString: strerror(number)))"
    switch number {
    case ENOENT, ENOTDIR, EISDIR:
      return Failure(.noInput, cause, remedy: "give the path of a file, or -")
    case EACCES, EPERM, EROFS:
      return Failure(.permission, cause, remedy: "give this user the permission, or another path")
    case ENOSPC, EDQUOT: return Failure(.ioError, cause, remedy: "free some space")
    case EPIPE: return Failure(.ioError, cause, remedy: "let the reader read to the end")
    default: return Failure(.ioError, cause)
    }
  }
}
