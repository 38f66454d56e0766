internal import CHostIO
internal import Glibc

extension BindStep {
  /// The longest a step may take. Unbinding a function that somebody holds waits in the kernel for
  /// as long as it's held: the wait is a child's, and is given up after this.
  static let millisecondsMax = 30_000
  /// The longest that a child which was killed is waited for.
  private static let millisecondsAfterKill = 1_000

  private static let commandOffset = 4

  /// Does it.
  func perform(millisecondsMax: Int = Self.millisecondsMax) throws(BindStepFailure) {
    let child =
      switch self {
      case .loadModule(let name): unsafe chio_spawn("modprobe", "-q", name)
      case .write(let path, let line): write(Array("\(line)\n".utf8), to: path, at: 0)
      case .stopBusMaster(let config, let command):
        write(Self.bytes(of: command), to: config, at: Self.commandOffset)
      }
    guard child > 0 else { throw failure(errno) }
    let status = try end(of: child, millisecondsMax)
    guard status == 0 else { throw failure(isLoad ? ENODEV : status) }
  }

  /// modprobe ends with 1 whatever is wrong: that there is no such module is the usual reason.
  private var isLoad: Bool { if case .loadModule = self { true } else { false } }

  private func write(_ bytes: [UInt8], to path: String, at offset: Int) -> pid_t {
    unsafe bytes.withUnsafeBytes { buffer in
      unsafe chio_write_in_child(path, buffer.baseAddress, buffer.count, off_t(offset))
    }
  }

  /// What a child ended with; ETIMEDOUT where it doesn't end.
  private func end(
    of child: pid_t, _ millisecondsMax: Int
  ) throws(BindStepFailure) -> CInt {
    if let status = try wait(for: child, millisecondsMax) { return status }
    // Waits that a signal ends are over with it, and the child is taken; one that no signal ends is
    // left to the kernel, and the child to whoever takes it when this process has gone.
    kill(child, SIGKILL)
    _ = try wait(for: child, Self.millisecondsAfterKill)
    throw failure(ETIMEDOUT)
  }

  /// A child's status, EINTR where a signal ended it; nil where it didn't end in time.
  private func wait(
    for child: pid_t, _ millisecondsMax: Int
  ) throws(BindStepFailure) -> CInt? {
    for _ in 0..<millisecondsMax {
      var status: CInt = 0
      let ended = unsafe waitpid(child, &status, WNOHANG)
      if ended == child {
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : EINTR
      }
      guard ended == 0 || errno == EINTR else { throw failure(errno) }
      _ = poll(nil, 0, 1)
    }
    return nil
  }

  private func failure(_ errno: CInt) -> BindStepFailure {
    BindStepFailure(step: self, errno: errno)
  }
}
