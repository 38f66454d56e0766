internal import Glibc
internal import Synchronization

/// A call of the system that failed: the call, what it was made on, its errno.
struct FailedCall: Error, Equatable, CustomStringConvertible {
  let call: String
  let subject: String
  let code: CInt

  /// The failure that errno names, to be asked for right after the call.
  init(_ call: String, _ subject: String, code: CInt = errno) {
    self.call = call
    self.subject = subject
    self.code = code
  }

  /// As in "open /dev/vfio/7: EBUSY".
  var description: String {
    let name = unsafe strerrorname_np(code).map { unsafe String(cString: $0) }
    return "\(call) \(subject): \(name ?? "errno \(code)")"
  }

  /// Whether the system refused access.
  var isRefused: Bool { code == EACCES || code == EPERM }
}

/// An open file of the kernel's: closed once, by ``close()`` or with the last reference.
final class HostFile: Sendable {
  let path: String
  private let number: Atomic<CInt>

  /// Opens it, closed on exec: open(2).
  init(_ path: String, writable: Bool = true) throws(FailedCall) {
    var descriptor: CInt
    repeat {
      descriptor = unsafe open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)
    } while descriptor < 0 && errno == EINTR
    guard descriptor >= 0 else { throw FailedCall("open", path) }
    self.path = path
    number = Atomic(descriptor)
  }

  /// Takes over a descriptor that a call gave.
  init(adopting descriptor: CInt, path: String) {
    self.path = path
    number = Atomic(descriptor)
  }

  deinit { close() }

  /// The descriptor; -1 once closed.
  var descriptor: CInt { number.load(ordering: .relaxed) }

  func close() {
    let open = number.exchange(-1, ordering: .relaxed)
    if open >= 0 { _ = Glibc.close(open) }
  }

  /// Bytes of the file: fstat(2).
  var byteCount: Int {
    var status = stat()
    return unsafe fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
  }

  /// Reads 1, 2 or 4 bytes, little-endian as the machine is; nil where not all came: pread(2).
  func read(at offset: UInt64, width: Int) -> UInt32? {
    guard let position = off_t(exactly: offset) else { return nil }
    var value: UInt32 = 0
    let count = unsafe withUnsafeMutableBytes(of: &value) { bytes in
      unsafe pread(descriptor, bytes.baseAddress, width, position)
    }
    return count == width ? value : nil
  }

  /// Writes 1, 2 or 4 bytes; false where not all were taken: pwrite(2).
  func write(at offset: UInt64, width: Int, value: UInt32) -> Bool {
    guard let position = off_t(exactly: offset) else { return false }
    let count = unsafe withUnsafeBytes(of: value) { bytes in
      unsafe pwrite(descriptor, bytes.baseAddress, width, position)
    }
    return count == width
  }
}
