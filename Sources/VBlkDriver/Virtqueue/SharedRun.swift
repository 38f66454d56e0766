/// Memory that the device reads or writes, in one run for it: a byte's address for us and for it.
///
/// Invariants
/// 1. `deviceAddress` is the device's address of `base`.
/// 2. Both lie in the queue's one DMA block, which lives as long as its ``QueueMemory``; the
///    offsets that lead from one run to another are ``QueueLayout``'s and ``RequestArea``'s.
@safe
@frozen
@usableFromInline
struct SharedRun {
  @usableFromInline let base: UnsafeMutableRawPointer
  @usableFromInline let deviceAddress: UInt64

  /// All of a block that is one run for the device.
  init(_ block: BlockReference) {
    precondition(block.isOneRun, "ring memory must be one run for the device")
    unsafe self.init(base: block.base, deviceAddress: block.deviceAddress)
  }

  @inlinable @inline(__always)
  init(base: UnsafeMutableRawPointer, deviceAddress: UInt64) {
    unsafe self.base = base
    self.deviceAddress = deviceAddress
  }

  /// The run from byte `offset` on.
  @inlinable @inline(__always)
  func advanced(by offset: Int) -> SharedRun {
    unsafe SharedRun(
      base: base + offset, deviceAddress: deviceAddress &+ UInt64(truncatingIfNeeded: offset))
  }

  func zero(byteCount: Int) {
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }
}
