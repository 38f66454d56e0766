internal import Glibc

/// Where the kernel's file systems are, so that a scan can be shown another machine's tree.
///
/// Every read says whether a file is absent, which is an answer, or could not be read, which is
/// none: a caller that looks for reasons not to touch a disk must tell the two apart.
public struct SystemRoots: Sendable, Equatable {
  /// Where sysfs is mounted.
  public let sys: String
  /// Where procfs is mounted.
  public let proc: String
  /// Where the device nodes are.
  public let dev: String
  /// Where what lasts until the next boot is kept: locks, and which driver a function had.
  public let run: String
  /// Where the kernel's modules are, a directory a release.
  public let modules: String

  /// Makes roots; without arguments they are this machine's.
  public init(
    sys: String = "/sys", proc: String = "/proc", dev: String = "/dev", run: String = "/run",
    modules: String = "/lib/modules"
  ) {
    self.sys = sys
    self.proc = proc
    self.dev = dev
    self.run = run
    self.modules = modules
  }

  /// A failed read: the path, the call and its errno.
  package struct ReadFailure: Error, Equatable {
    package let path: String
    package let errno: CInt

    package var description: String {
      "\(path): \(unsafe String(cString: strerror(errno)))"
    }

    /// Whether another user could have read it.
    package var isRefused: Bool { errno == EACCES || errno == EPERM }

    /// What the files of a process say that ends while they are read, or has no memory left.
    var isEndOfProcess: Bool { errno == ESRCH || errno == EINVAL }
  }

  /// The largest file that is read: far above any mount table, far below what would hurt.
  private static let byteCountMax = 64 << 20

  /// The text of a file, nil where there is none.
  package static func text(at path: String) throws(ReadFailure) -> String? {
    guard let bytes = try bytes(at: path, atMost: byteCountMax + 1) else { return nil }
    guard bytes.count <= byteCountMax else { throw ReadFailure(path: path, errno: EFBIG) }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The first `countMax` bytes of a file, or as many as it has; nil where there is none.
  package static func bytes(
    at path: String, atMost countMax: Int
  ) throws(ReadFailure) -> [UInt8]? {
    let descriptor = unsafe open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return try absent(path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count < countMax {
      let wanted = min(chunk.count, countMax - bytes.count)
      let count = unsafe chunk.withUnsafeMutableBytes { buffer in
        unsafe read(descriptor, buffer.baseAddress, wanted)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return try absent(path) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return bytes
  }

  /// The first word of a file such as sysfs has them, nil where there is no file.
  package static func word(at path: String) throws(ReadFailure) -> String? {
    try text(at: path)?.split(whereSeparator: \.isWhitespace).first.map(String.init)
  }

  /// The names in a directory in order, nil where there is none.
  package static func names(in path: String) throws(ReadFailure) -> [String]? {
    guard let stream = unsafe opendir(path) else { return try absent(path) }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else { break }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { characters in
          unsafe String(cString: characters)
        }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    guard errno == 0 else { throw ReadFailure(path: path, errno: errno) }
    return names.sorted()
  }

  /// The last component of a link's target, nil where there is no link.
  package static func linkName(at path: String) throws(ReadFailure) -> String? {
    try linkTarget(at: path)?.split(separator: "/").last.map(String.init)
  }

  /// A link's target as it stands there, nil where there is no link.
  package static func linkTarget(at path: String) throws(ReadFailure) -> String? {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink(path, &bytes, bytes.count)
    guard count >= 0 else { return try absent(path) }
    return String(decoding: bytes[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// The last component of what a path leads to when every link is followed; nil where nothing is.
  package static func finalName(of path: String) -> String? {
    resolved(path)?.split(separator: "/").last.map(String.init)
  }

  /// What a path leads to when every link is followed; nil where nothing is.
  package static func resolved(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  /// Whether there is something at a path.
  package static func exists(_ path: String) -> Bool {
    unsafe access(path, F_OK) == 0
  }

  /// Nil where errno says that nothing is there, the failure where it says anything else.
  private static func absent<Value>(_ path: String) throws(ReadFailure) -> Value? {
    let number = errno
    guard number == ENOENT || number == ENOTDIR else {
      throw ReadFailure(path: path, errno: number)
    }
    return nil
  }
}
