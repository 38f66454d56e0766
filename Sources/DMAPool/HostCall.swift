import Glibc

/// The system calls that DMA memory is made of.
///
/// Each is called in one place (``HostMemory``), and each goes through ``perform(retrying:_:)``:
/// there errno becomes a ``SystemError``, EINTR is met, and tests make the n-th call fail.
enum HostCall: String, CaseIterable, Sendable {
  case memfdCreate = "memfd_create"
  case ftruncate
  case mmap
  case munmap
  case mlock
  case munlock
  case madvise
  case mbind
  case close
  case open
  case read
  case pread

  /// Calls `body`, which answers -1 and sets errno on failure, as system calls do.
  ///
  /// - Parameters:
  ///   - retrying: Whether EINTR means "try again"; false where a second try could hurt (close) or
  ///     where the call can't be interrupted.
  ///   - body: The call.
  /// - Returns: What `body` answered.
  /// - Throws: ``SystemError`` with errno.
  func perform(retrying: Bool, _ body: () -> Int) throws(SystemError) -> Int {
    if let code = InjectedFailure.current?.next(self) { throw SystemError(call: self, code: code) }
    for _ in 0..<Limits.interruptedTries {
      let result = body()
      if result != -1 { return result }
      let code = errno
      guard code == EINTR, retrying else { throw SystemError(call: self, code: code) }
    }
    throw SystemError(call: self, code: EINTR)
  }
}

/// A system call that failed, with its errno.
struct SystemError: Error, Equatable, CustomStringConvertible {
  let call: HostCall
  let code: CInt

  /// As in "mlock: ENOMEM".
  var description: String {
    guard let name = unsafe strerrorname_np(code) else { return "\(call.rawValue): errno \(code)" }
    return unsafe "\(call.rawValue): \(String(cString: name))"
  }
}
