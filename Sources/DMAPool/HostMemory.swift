import CHostIO
import Glibc

/// The system's memory: one function a call. Which EINTR is retried is said at each.
enum HostMemory {
  /// A new anonymous file in memory, of 2 MiB pages if `huge`. Never interrupted: memfd_create(2).
  static func createFile(huge: Bool) throws(SystemError) -> CInt {
    let result = try HostCall.memfdCreate.perform(retrying: false) {
      Int(unsafe chio_memfd("vblk-dma", huge ? 1 : 0))
    }
    return CInt(result)
  }

  /// Gives `file` its size; retried: ftruncate(2).
  static func resize(_ file: CInt, byteCount: Int) throws(SystemError) {
    _ = try HostCall.ftruncate.perform(retrying: true) { Int(Glibc.ftruncate(file, byteCount)) }
  }

  /// Closes `file`; never retried, since Linux frees the number even then: close(2).
  static func close(_ file: CInt) throws(SystemError) {
    _ = try HostCall.close.perform(retrying: false) { Int(Glibc.close(file)) }
  }

  /// Address space without memory behind it. Can't be interrupted: mmap(2), PROT_NONE.
  static func reserve(byteCount: Int) throws(SystemError) -> UnsafeMutableRawPointer {
    try unsafe map(at: nil, byteCount, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)
  }

  /// Maps all of `file`, shared: at `address` in place of what was there, or where the kernel puts
  /// it. Can't be interrupted: mmap(2), MAP_FIXED.
  static func mapShared(
    _ file: CInt, byteCount: Int, at address: UnsafeMutableRawPointer?
  ) throws(SystemError) -> UnsafeMutableRawPointer {
    let fixed = unsafe address == nil ? 0 : MAP_FIXED
    return try unsafe map(
      at: address, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, file)
  }

  private static func map(
    at address: UnsafeMutableRawPointer?, _ byteCount: Int, _ protection: CInt, _ flags: CInt,
    _ file: CInt
  ) throws(SystemError) -> UnsafeMutableRawPointer {
    let result = try HostCall.mmap.perform(retrying: false) {
      unsafe Int(bitPattern: Glibc.mmap(address, byteCount, protection, flags, file, 0))
    }
    guard let start = unsafe UnsafeMutableRawPointer(bitPattern: result) else {
      throw SystemError(call: .mmap, code: EFAULT)
    }
    return unsafe start
  }

  /// Gives address space back. Can't be interrupted: munmap(2).
  static func unmap(_ start: UnsafeMutableRawPointer, byteCount: Int) throws(SystemError) {
    _ = try HostCall.munmap.perform(retrying: false) {
      unsafe Int(Glibc.munmap(start, byteCount))
    }
  }

  /// Touches every page for writing, so that none is missing later, and says so where there is none
  /// instead of dying by SIGBUS; retried: madvise(2), MADV_POPULATE_WRITE (Linux 5.14).
  static func populate(
    _ start: UnsafeMutableRawPointer, byteCount: Int
  ) throws(SystemError) {
    try unsafe advise(start, byteCount, populateWrite)
  }

  /// Keeps the pages out of children, or lets them in again; retried: madvise(2).
  static func setInherited(
    _ inherited: Bool, _ start: UnsafeMutableRawPointer?, byteCount: Int
  ) throws(SystemError) {
    try unsafe advise(start, byteCount, inherited ? MADV_DOFORK : MADV_DONTFORK)
  }

  /// MADV_POPULATE_WRITE, which this glibc may not name.
  private static let populateWrite: CInt = 23

  private static func advise(
    _ start: UnsafeMutableRawPointer?, _ byteCount: Int, _ advice: CInt
  ) throws(SystemError) {
    _ = try HostCall.madvise.perform(retrying: true) {
      unsafe Int(Glibc.madvise(start, byteCount, advice))
    }
  }

  /// Locks pages into memory; retried: mlock(2).
  static func lock(_ start: UnsafeMutableRawPointer?, byteCount: Int) throws(SystemError) {
    _ = try HostCall.mlock.perform(retrying: true) {
      unsafe Int(Glibc.mlock(start, byteCount))
    }
  }

  /// Undoes ``lock(_:)``; retried: munlock(2).
  static func unlock(_ start: UnsafeMutableRawPointer?, byteCount: Int) throws(SystemError) {
    _ = try HostCall.munlock.perform(retrying: true) {
      unsafe Int(Glibc.munlock(start, byteCount))
    }
  }
}
