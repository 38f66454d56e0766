internal import Glibc
internal import VBlk

/// The file under an emulated disk, as far as `copy` must know it before it opens the disk.
struct ImageFile {
  let path: String

  /// The image that a device string names; nil where it names no file.
  init?(_ address: DeviceAddress) {
    guard case .emulated(.image(let path)) = address.place else { return nil }
    self.path = path
  }

  /// Whether both paths lead to the same file.
  func isSame(as other: ImageFile) -> Bool {
    var mine = stat()
    var theirs = stat()
    guard unsafe stat(path, &mine) == 0, unsafe stat(other.path, &theirs) == 0 else { return false }
    return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino
  }

  /// Makes the file with a size and nothing in it, where there is none.
  ///
  /// - Returns: Whether it was made.
  func createIfMissing(byteCount: UInt64) throws(Failure) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    if descriptor < 0, errno == EEXIST { return false }
    guard descriptor >= 0 else { throw failure("can't make", errno) }
    defer { close(descriptor) }
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      let number = errno
      remove()
      throw failure("can't make \(byteCount) bytes of", number)
    }
    return true
  }

  /// Takes away a file that was made and could not be used.
  func remove() { unsafe unlink(path) }

  private func failure(_ what: String, _ number: CInt) -> Failure {
    let cause = unsafe "\(what) \(path): \(String(cString: strerror(number)))"
    switch number {
    case ENOENT, ENOTDIR:
      return Failure(.noInput, cause, remedy: "make its directory first, or choose another path")
    case EACCES, EPERM, EROFS:
      return Failure(.permission, cause, remedy: "choose a path that this user may write to")
    default: return Failure(.ioError, cause, remedy: "choose another file system")
    }
  }
}
