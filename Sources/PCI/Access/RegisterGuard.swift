internal import CHostIO
internal import Glibc
internal import Synchronization

/// Keeps a process alive whose function is unplugged: its mapped registers then read all ones, as
/// on the bus, where the kernel would end the process with SIGBUS.
///
/// The C behind it has its state in a header, one copy a file that uses it: this file alone does.
enum RegisterGuard {
  private static let isInstalled = Mutex(false)

  /// Guards a mapping until ``remove(_:)``.
  ///
  /// - Returns: The guard's number.
  /// - Throws: ``PCIError`` where all guards are taken, or the signal can't be had.
  static func add(_ start: UnsafeMutableRawPointer, byteCount: Int) throws(PCIError) -> CInt {
    let start = UInt(bitPattern: start)
    let number = isInstalled.withLock { isInstalled -> CInt in
      if !isInstalled {
        guard chio_guard_install() == 0 else { return -1 }
        isInstalled = true
      }
      return unsafe chio_guard_add(UnsafeMutableRawPointer(bitPattern: start), byteCount)
    }
    guard number >= 0 else {
      throw PCIError(
        .system, "no guard for \(byteCount) bytes of registers: all \(CHIO_GUARDS_MAX) are taken",
        remedy: "open fewer functions in one process")
    }
    return number
  }

  static func remove(_ number: CInt) { isInstalled.withLock { _ in chio_guard_remove(number) } }

  /// Whether the registers behind the guard have gone.
  static func isLost(_ number: CInt) -> Bool { chio_guard_is_lost(number) != 0 }

  /// What the signal handler does for an access at `address`; a test has no other way to it.
  static func cover(_ address: UInt) -> Bool { chio_guard_cover(address) != 0 }
}
