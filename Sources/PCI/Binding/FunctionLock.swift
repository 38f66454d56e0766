internal import Glibc
internal import Synchronization

/// The right to bind or drive one function: a lock on /run/vblk/ADDRESS.lock that ends with its
/// holder, however that ends. The file names the holder; a name in a file that nobody has locked is
/// that of a process which was killed.
public final class FunctionLock: Sendable {
  /// The process that was killed while it had the function; nil where it was given back.
  public let processKilled: Int?

  private let descriptor: Mutex<CInt?>

  private init(_ descriptor: CInt, processKilled: Int?) {
    self.descriptor = Mutex(descriptor)
    self.processKilled = processKilled
  }

  deinit { release() }

  static func path(_ address: PCIAddress, roots: SystemRoots) -> String {
    "\(roots.run)/vblk/\(address).lock"
  }

  /// Takes the lock; never waits.
  ///
  /// Without root only a lock whose file is there can be taken, and the holder is not named in it.
  ///
  /// - Parameters:
  ///   - address: The function.
  ///   - roots: Where /run and /proc are.
  /// - Returns: The lock, held until ``release(processKilled:)``.
  /// - Throws: ``PCIError``: `.busy` with the holder, `.permission`, `.system`.
  public static func take(
    _ address: PCIAddress, roots: SystemRoots = SystemRoots()
  ) throws(PCIError) -> FunctionLock {
    let path = path(address, roots: roots)
    let descriptor = try opened(path, directories: [roots.run, "\(roots.run)/vblk"])
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let number = errno
      close(descriptor)
      guard number == EWOULDBLOCK else { throw failure("flock", path, number) }
      throw held(address, roots: roots)
    }
    let killed = process(in: path)
    write("\(getpid())\n", to: descriptor)
    return FunctionLock(descriptor, processKilled: killed)
  }

  /// Gives it back. May be called twice.
  ///
  /// - Parameter processKilled: A process whose leavings are still there, for the next holder.
  public func release(processKilled: Int? = nil) {
    descriptor.withLock { descriptor in
      guard let open = descriptor else { return }
      Self.write(processKilled.map { "\($0)\n" } ?? "", to: open)
      close(open)
      descriptor = nil
    }
  }

  /// The process that was killed while it had the function, as far as can be told without the lock.
  package static func processKilled(_ address: PCIAddress, roots: SystemRoots) -> Int? {
    let path = path(address, roots: roots)
    guard HolderSearch(roots: roots).holder(of: [path]) == nil else { return nil }
    return process(in: path)
  }

  private static func process(in path: String) -> Int? {
    (try? SystemRoots.word(at: path)).flatMap { Int($0) }
  }

  private static func held(_ address: PCIAddress, roots: SystemRoots) -> PCIError {
    let path = path(address, roots: roots)
    let holder =
      HolderSearch(roots: roots).holder(of: [path])?.description
      ?? process(in: path).map { "process \($0)" } ?? "another process"
    return PCIError(
      .busy, "\(address) is held by \(holder) (lock \(path))",
      remedy: "wait for it or end it, then try again")
  }

  private static func opened(_ path: String, directories: [String]) throws(PCIError) -> CInt {
    for directory in directories where unsafe mkdir(directory, 0o755) != 0 && errno != EEXIST {
      throw failure("mkdir", directory, errno)
    }
    let both = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    if both >= 0 { return both }
    let number = errno
    guard number == EACCES else { throw failure("open", path, number) }
    let reading = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard reading >= 0 else { throw failure("open", path, number) }
    return reading
  }

  /// Without the right to write, the holder stays unnamed.
  private static func write(_ text: String, to descriptor: CInt) {
    guard ftruncate(descriptor, 0) == 0 else { return }
    let bytes = Array(text.utf8)
    _ = unsafe bytes.withUnsafeBytes { buffer in
      unsafe pwrite(descriptor, buffer.baseAddress, buffer.count, 0)
    }
  }

  private static func failure(_ call: String, _ path: String, _ number: CInt) -> PCIError {
    let reason = unsafe String(cString: strerror(number))
    let isRefused = number == EACCES || number == EPERM || number == EROFS
    return PCIError(
      isRefused ? .permission : .system, "\(call) \(path): \(reason)",
      remedy: isRefused ? "run as root" : "see that \(path) can be made")
  }
}
