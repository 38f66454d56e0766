/// A piece of DMA memory: one owner, moved into a submission and given back by its completion.
///
/// It goes back to its arena when it dies, and keeps the arena alive until then. Not thread-safe,
/// but it may be moved to another thread. One machine word.
@safe
@frozen
public struct DMABuffer: ~Copyable {
  /// The record behind the buffer.
  @usableFromInline let block: UnsafeMutablePointer<DMABlock>

  /// For drivers: makes the buffer whose record went through ``intoBlock()``.
  @inlinable @inline(__always)
  public init(block: UnsafeMutablePointer<DMABlock>) { unsafe self.block = block }

  deinit {
    let owner = unsafe block.pointee.owner
    unsafe owner.takeUnretainedValue().release(block)
  }

  /// For drivers: the record, while the buffer is in flight; it must come back by
  /// ``init(block:)``, or the memory is lost.
  @inlinable @inline(__always)
  public consuming func intoBlock() -> UnsafeMutablePointer<DMABlock> {
    let block = unsafe self.block
    discard self
    return unsafe block
  }

  /// For drivers: the record, while the buffer is only borrowed.
  @inlinable @inline(__always)
  public var record: UnsafeMutablePointer<DMABlock> { unsafe block }

  /// Bytes in use: what a submission transfers. At most ``capacity``.
  @inlinable
  public var byteCount: Int {
    get { unsafe block.pointee.byteCount }
    set {
      unsafe precondition(
        newValue >= 0 && newValue <= block.pointee.capacity,
        "a DMA buffer of \(block.pointee.capacity) bytes can't hold \(newValue)")
      unsafe block.pointee.byteCount = newValue
    }
  }

  /// Bytes that the buffer can hold.
  @inlinable
  public var capacity: Int { unsafe block.pointee.capacity }

  /// Calls `body` with the bytes in use, for reading.
  @inlinable
  public func withUnsafeBytes<R: ~Copyable, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try unsafe body(
      UnsafeRawBufferPointer(start: block.pointee.base, count: block.pointee.byteCount))
  }

  /// Calls `body` with the bytes in use, for writing.
  @inlinable
  public mutating func withUnsafeMutableBytes<R: ~Copyable, E: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try unsafe body(
      UnsafeMutableRawBufferPointer(start: block.pointee.base, count: block.pointee.byteCount))
  }

  /// The bytes in use, for reading.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(block.pointee.base), byteCount: block.pointee.byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The bytes in use, for writing.
  public var mutableBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      let span = unsafe MutableRawSpan(
        _unsafeStart: block.pointee.base, byteCount: block.pointee.byteCount)
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }
}
