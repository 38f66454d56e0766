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

  /// Makes roots; without arguments they are this machine's.
  public init(sys: String = "/sys", proc: String = "/proc", dev: String = "/dev") {
    self.sys = sys
    self.proc = proc
    self.dev = dev
  }

  /// A failed read: the path, the call and its errno.
  struct ReadFailure: Error, Equatable {
    let path: String
    let errno: CInt

    var description: String {
      "\(path): \(unsafe String(cString: strerror(errno)))"
    }

    /// What the files of a process say that ends while they are read, or has no memory left.
    var isEndOfProcess: Bool { errno == ESRCH || errno == EINVAL }
  }

  /// The largest file that is read: far above any mount table, far below what would hurt.
  private static let byteCountMax = 64 << 20

  /// The text of a file, nil where there is none.
  static func text(at path: String) throws(ReadFailure) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return try absent(path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = unsafe chunk.withUnsafeMutableBytes { buffer in
        unsafe read(descriptor, buffer.baseAddress, buffer.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return try absent(path) }
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= byteCountMax else {
        throw ReadFailure(path: path, errno: EFBIG)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The first word of a file such as sysfs has them, nil where there is no file.
  static func word(at path: String) throws(ReadFailure) -> String? {
    try text(at: path)?.split(whereSeparator: \.isWhitespace).first.map(String.init)
  }

  /// The names in a directory in order, nil where there is none.
  static func names(in path: String) throws(ReadFailure) -> [String]? {
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
  static func linkName(at path: String) throws(ReadFailure) -> String? {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink(path, &bytes, bytes.count)
    guard count >= 0 else { return try absent(path) }
    let target = String(decoding: bytes[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    return target.split(separator: "/").last.map(String.init)
  }

  /// The last component of what a path leads to when every link is followed; nil where nothing is.
  static func finalName(of path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved).split(separator: "/").last.map(String.init)
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
