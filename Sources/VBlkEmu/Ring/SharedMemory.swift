internal import CHostIO

/// Memory that the driver writes while the device reads it, and the other way round.
///
/// Invariant: whoever makes one has translated the area through the emulated IOMMU and passes only
/// offsets inside it; the queue's lock keeps the mapping alive. Every load fetches once: what is
/// checked is what is used.
@safe
struct SharedMemory {
  let base: UnsafeMutableRawPointer

  init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

  /// The memory from `offset` on.
  func advanced(by offset: Int) -> SharedMemory { unsafe SharedMemory(base + offset) }

  @inline(__always)
  func load16(_ offset: Int) -> UInt16 { unsafe chio_load16_once(base + offset) }
  @inline(__always)
  func load32(_ offset: Int) -> UInt32 { unsafe chio_load32_once(base + offset) }
  @inline(__always)
  func load64(_ offset: Int) -> UInt64 { unsafe chio_load64_once(base + offset) }
  /// The two words of a descriptor.
  @inline(__always)
  func loadPair(_ offset: Int) -> (UInt64, UInt64) { (load64(offset), load64(offset &+ 8)) }
  /// Brings the line near, to read it.
  @inline(__always)
  func prefetch(_ offset: Int) { unsafe chio_prefetch(base + offset) }
  /// Brings the line near, to write it.
  @inline(__always)
  func prefetchForWriting(_ offset: Int) { unsafe chio_prefetch_write(base + offset) }
  @inline(__always)
  func load16Acquire(_ offset: Int) -> UInt16 { unsafe chio_load16_acquire(base + offset) }
  @inline(__always)
  func load64Acquire(_ offset: Int) -> UInt64 { unsafe chio_load64_acquire(base + offset) }
  @inline(__always)
  func store8(_ offset: Int, _ value: UInt8) { unsafe chio_store8_once(base + offset, value) }
  @inline(__always)
  func store16(_ offset: Int, _ value: UInt16) { unsafe chio_store16_once(base + offset, value) }
  @inline(__always)
  func store32(_ offset: Int, _ value: UInt32) { unsafe chio_store32_once(base + offset, value) }
  @inline(__always)
  func store16Release(_ offset: Int, _ value: UInt16) {
    unsafe chio_store16_release(base + offset, value)
  }
  @inline(__always)
  func store64Release(_ offset: Int, _ value: UInt64) {
    unsafe chio_store64_release(base + offset, value)
  }
}

/// When each head or buffer id was last taken, so that one made available twice is found (hostile
/// driver 25, 26).
///
/// A head is in flight while its stamp is not less than the queue's present stamp. A batch raises
/// the queue's stamp when what it used is published, which frees all its heads at once; a head that
/// is held over batches is stamped ``held``.
///
/// Invariant: indexes are less than the ring's size, which is at most `count`.
@safe
struct HeadStamps {
  private let stamps: UnsafeMutablePointer<UInt32>
  private let count: Int

  /// Later than any batch.
  static var held: UInt32 { .max }

  init(count: Int) {
    unsafe stamps = .allocate(capacity: count)
    self.count = count
    clear()
  }

  @inline(__always)
  subscript(_ head: Int) -> UInt32 {
    get { unsafe stamps[head] }
    nonmutating set { unsafe stamps[head] = newValue }
  }

  func clear() { unsafe stamps.update(repeating: 0, count: count) }

  func deallocate() { unsafe stamps.deallocate() }
}
