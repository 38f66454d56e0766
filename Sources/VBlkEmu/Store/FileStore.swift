internal import CHostIO
internal import Glibc

/// A raw file, read and written at positions, so that queues need not share a file offset.
///
/// Every call that a signal can end is tried again (EINTR); a short read at the end of a file that
/// somebody truncated meanwhile is an I/O error, as on a disk that lost its end.
struct FileStore: Sendable {
  private let descriptor: CInt

  /// Opens the image at `path`.
  ///
  /// - Parameters:
  ///   - path: A regular file whose size is a positive multiple of `blockSize`.
  ///   - readOnly: Opens for reading only.
  ///   - blockSize: Logical block in bytes.
  /// - Returns: The store, and the file's bytes.
  /// - Throws: ``EmulatorError`` that names the path, what is wrong with it and what to do.
  static func open(
    path: String, readOnly: Bool, blockSize: UInt64
  ) throws(EmulatorError) -> (store: FileStore, byteCount: UInt64) {
    let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
    // O_NONBLOCK keeps open(2) of a pipe from waiting for a peer; on regular files it means
    // nothing.
    let descriptor = unsafe Glibc.open(path, flags | O_NONBLOCK)
    guard descriptor >= 0 else { throw refusal(path, readOnly, errno) }
    var information = stat()
    guard unsafe fstat(descriptor, &information) == 0 else {
      let error = errno
      Glibc.close(descriptor)
      throw refusal(path, readOnly, error)
    }
    let kind = information.st_mode & S_IFMT
    guard kind == S_IFREG else {
      Glibc.close(descriptor)
      throw EmulatorError(
        .invalidImage, "\(path) is \(kind == S_IFDIR ? "a directory" : "not a regular file")",
        remedy: "give the path of a raw disk image")
    }
    let byteCount = UInt64(information.st_size)
    guard byteCount > 0, byteCount % blockSize == 0 else {
      Glibc.close(descriptor)
      throw EmulatorError(
        .invalidImage,
        "\(path) has \(byteCount) bytes, which is no positive multiple of the block"
          + " of \(blockSize) bytes",
        remedy: "restore the missing part, or set the size with truncate -s")
    }
    return (FileStore(descriptor: descriptor), byteCount)
  }

  private static func refusal(_ path: String, _ readOnly: Bool, _ error: CInt) -> EmulatorError {
    let text = unsafe String(cString: strerror(error))
    let purpose = readOnly ? "reading" : "reading and writing"
    let cause = "can't open \(path) for \(purpose): \(text)"
    switch error {
    case ENOENT, ENOTDIR:
      return EmulatorError(.notFound, cause, remedy: "check the path, or make the image first")
    case EACCES, EPERM, EROFS, ETXTBSY:
      return EmulatorError(
        .permission, cause,
        remedy: readOnly
          ? "give this user read permission" : "give write permission, or open it read-only")
    case EISDIR:
      return EmulatorError(
        .invalidImage, "\(path) is a directory", remedy: "give the path of a raw disk image")
    default:
      return EmulatorError(.system, cause, remedy: "free what the system is short of")
    }
  }

  func read(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) -> CInt {
    var done = 0
    while done < count {
      let step = unsafe pread(descriptor, memory + done, count - done, off_t(offset) + off_t(done))
      if step > 0 {
        done += step
      } else if step == 0 {
        return EIO
      } else if errno != EINTR {
        return errno
      }
    }
    return 0
  }

  func write(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) -> CInt {
    var done = 0
    while done < count {
      let step = unsafe pwrite(descriptor, memory + done, count - done, off_t(offset) + off_t(done))
      if step > 0 {
        done += step
      } else if step == 0 {
        return EIO
      } else if errno != EINTR {
        return errno
      }
    }
    return 0
  }

  /// Moves all segments with as few calls as the kernel allows; a call that stops short is done
  /// again segment by segment, which is the same bytes to the same places.
  func transfer(_ segments: HostSegments, at offset: UInt64, writing: Bool) -> CInt {
    let most = 1024  // IOV_MAX
    var position = offset
    var first = 0
    while first < segments.count {
      let range = first..<min(first + most, segments.count)
      var total = 0
      _ = unsafe segments.forEach(in: range) {
        total += $1
        return 0
      }
      let moved = unsafe segments.list.withUnsafeBufferPointer { all in
        guard let base = all.baseAddress else { return 0 }
        return writing
          ? unsafe pwritev(descriptor, base + first, CInt(range.count), off_t(position))
          : unsafe preadv(descriptor, base + first, CInt(range.count), off_t(position))
      }
      if moved != total {
        var single = position
        let error = unsafe segments.forEach(in: range) { memory, length in
          defer { single += UInt64(length) }
          return writing
            ? unsafe write(memory, length, at: single) : unsafe read(memory, length, at: single)
        }
        if error != 0 { return error }
      }
      position += UInt64(total)
      first = range.upperBound
    }
    return 0
  }

  func flush() -> CInt {
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { return errno }
    }
    return 0
  }

  /// Punches a hole, or makes the range zero where it is; a file system that can do neither gets
  /// zeroes written.
  func zero(_ count: UInt64, at offset: UInt64, unmap: Bool) -> CInt {
    if count == 0 { return 0 }
    let mode = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE
    while fallocate(descriptor, mode, off_t(offset), off_t(count)) != 0 {
      if errno == EOPNOTSUPP { return writeZeroes(count, at: offset) }
      if errno != EINTR { return errno }
    }
    return 0
  }

  private func writeZeroes(_ count: UInt64, at offset: UInt64) -> CInt {
    let chunk = 1 << 16
    let zeroes = UnsafeMutableRawPointer.allocate(byteCount: chunk, alignment: 4096)
    defer { unsafe zeroes.deallocate() }
    unsafe memset(zeroes, 0, chunk)
    var done: UInt64 = 0
    while done < count {
      let step = Int(min(UInt64(chunk), count - done))
      let error = unsafe write(zeroes, step, at: offset + done)
      if error != 0 { return error }
      done += UInt64(step)
    }
    return 0
  }

  /// Makes the file `byteCount` bytes long, if it is shorter.
  ///
  /// - Throws: ``EmulatorError`` if it can't be.
  func grow(to byteCount: UInt64) throws(EmulatorError) {
    let present = lseek(descriptor, 0, SEEK_END)
    guard present < off_t(byteCount) else { return }
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      throw EmulatorError(
        .system, "can't make the image \(byteCount) bytes long: errno \(errno)",
        remedy: "open it for writing, on a file system that has files of that size")
    }
  }

  func close() { Glibc.close(descriptor) }
}
