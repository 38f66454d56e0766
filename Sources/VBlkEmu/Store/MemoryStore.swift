internal import CHostIO
internal import Glibc
internal import Virtio

/// Sparse memory: a private mapping of the whole capacity, of which the kernel gives pages when
/// they are first written and takes them back when they are discarded.
///
/// Invariant: `base ..< base + byteCount` is mapped until ``close()``; the caller has checked
/// offsets against a capacity that is at most `byteCount`.
@safe
struct MemoryStore: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  let byteCount: UInt64

  /// - Parameter byteCount: Bytes, more than 0.
  /// - Throws: ``EmulatorError`` if there is no address space for it.
  init(byteCount: UInt64) throws(EmulatorError) {
    guard let length = Int(exactly: byteCount),
      let memory = unsafe mmap(
        nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      unsafe memory != MAP_FAILED
    else {
      throw EmulatorError(
        .noMemory, "no address space for a memory disk of \(byteCount) bytes",
        remedy: "choose a smaller size, at most 2^46 bytes")
    }
    unsafe base = memory
    self.byteCount = byteCount
  }

  @inline(__always)
  func read(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) {
    unsafe memcpy(memory, base + Int(truncatingIfNeeded: offset), count)
  }

  @inline(__always)
  func write(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) {
    unsafe memcpy(base + Int(truncatingIfNeeded: offset), memory, count)
  }

  func zero(_ count: UInt64, at offset: UInt64, unmap: Bool) -> CInt {
    let start = unsafe base + Int(offset)
    let length = Int(count)
    guard unmap else {
      unsafe memset(start, 0, length)
      return 0
    }
    // Whole pages go back to the kernel, which shows zeroes from then on; the rest is cleared.
    let page: UInt64 = 4096
    let first = min((offset + page - 1) & ~(page - 1), offset + count)
    let end = max((offset + count) & ~(page - 1), first)
    unsafe memset(start, 0, Int(first - offset))
    unsafe memset(base + Int(end), 0, Int(offset + count - end))
    if end > first, unsafe madvise(base + Int(first), Int(end - first), MADV_DONTNEED) != 0 {
      unsafe memset(base + Int(first), 0, Int(end - first))
    }
    return 0
  }

  /// The store with `byteCount` bytes at least, the old ones first; this one is void then.
  ///
  /// - Throws: ``EmulatorError`` if there is no address space for it; then nothing has changed.
  func grown(to byteCount: UInt64) throws(EmulatorError) -> MemoryStore {
    if byteCount <= self.byteCount { return self }
    let memory = unsafe chio_remap(base, Int(self.byteCount), Int(byteCount))
    guard let memory = unsafe memory else {
      throw EmulatorError(
        .noMemory, "no address space for a memory disk of \(byteCount) bytes",
        remedy: "choose a smaller size, at most 2^46 bytes")
    }
    return unsafe MemoryStore(base: memory, byteCount: byteCount)
  }

  private init(base: UnsafeMutableRawPointer, byteCount: UInt64) {
    unsafe self.base = base
    self.byteCount = byteCount
  }

  func close() { unsafe munmap(base, Int(byteCount)) }
}
