public import DMAPool

/// A DMA buffer in flight: the record that ``DMAPool/DMABuffer/intoBlock()`` leaves of it.
/// One word.
///
/// Invariants
/// 1. The record lives while its buffer does; a buffer taken apart lives until a ``DMABuffer`` is
///    made of its reference again, exactly once.
/// 2. A bounce block's reference goes back to its pool instead, and never becomes a buffer.
/// 3. A reference borrowed from a buffer is not kept beyond the call that borrowed it.
@safe
@frozen
@usableFromInline
struct BlockReference {
  @usableFromInline let block: UnsafeMutablePointer<DMABlock>

  @inlinable @inline(__always)
  init(_ block: UnsafeMutablePointer<DMABlock>) { unsafe self.block = block }

  /// First byte, for the processor.
  var base: UnsafeMutableRawPointer { unsafe block.pointee.base }

  /// First byte, for the device; where ``isOneRun``.
  @inlinable @inline(__always)
  var deviceAddress: UInt64 { unsafe block.pointee.deviceAddress }

  /// Bytes in use.
  @inlinable @inline(__always)
  var byteCount: Int { unsafe block.pointee.byteCount }

  /// The arena's number if the block is one run for the device, else 0.
  @inlinable @inline(__always)
  var plainArena: UInt32 { unsafe block.pointee.plainArena }

  var arena: UInt32 { unsafe block.pointee.arena }

  /// Whether the whole block is contiguous for the device.
  var isOneRun: Bool { plainArena != 0 }

  /// The longest stretch from `offset` on that is contiguous for the device, at most `limit` bytes;
  /// 0 bytes where the device can't reach it.
  @inline(__always)
  func run(at offset: Int, limit: Int) -> (deviceAddress: UInt64, byteCount: Int) {
    guard _fastPath(isOneRun) else { return searchRun(at: offset, limit: limit) }
    return (deviceAddress &+ UInt64(truncatingIfNeeded: offset), limit)
  }

  @inline(never)
  private func searchRun(
    at offset: Int, limit: Int
  ) -> (deviceAddress: UInt64, byteCount: Int) {
    unsafe block.pointee.run(at: offset, limit: limit)
  }
}

extension DMABuffer {
  /// Gives a buffer back that went through ``intoReference()``.
  @inlinable @inline(__always)
  init(_ reference: BlockReference) { unsafe self.init(block: reference.block) }

  /// Takes the buffer apart, for its time in flight.
  @inlinable @inline(__always)
  consuming func intoReference() -> BlockReference { unsafe BlockReference(intoBlock()) }

  /// The buffer's reference while it is only borrowed.
  var reference: BlockReference { unsafe BlockReference(record) }
}
