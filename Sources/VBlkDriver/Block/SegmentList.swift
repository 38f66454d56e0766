public import DMAPool

/// Scatter-gather memory of a vectored operation: an ordered list of segments in DMA buffers.
///
/// It owns its buffers. It is moved into a submission and given back by its completion; its
/// storage is allocated when it is made, so that submissions allocate nothing. One machine word.
@frozen
public struct SegmentList: ~Copyable {
  @usableFromInline let storage: SegmentStorage

  /// An empty list.
  ///
  /// - Parameters:
  ///   - segmentCapacity: Most segments that it can hold.
  ///   - bufferCapacity: Most buffers that it can own; as many as segments unless said otherwise.
  public init(segmentCapacity: Int, bufferCapacity: Int? = nil) {
    precondition(segmentCapacity > 0, "a segment list needs room for at least one segment")
    storage = SegmentStorage(
      segmentCapacity: segmentCapacity, bufferCapacity: bufferCapacity ?? segmentCapacity)
  }

  /// For the driver: makes the list whose storage was taken by ``intoStorage()``.
  @inlinable @inline(__always)
  init(storage: SegmentStorage) { self.storage = storage }

  @inlinable @inline(__always)
  consuming func intoStorage() -> SegmentStorage {
    let storage = self.storage
    discard self
    return storage
  }

  deinit { storage.free() }

  /// Segments in the list.
  public var count: Int { storage.segmentCount }

  /// Bytes of all segments.
  public var byteCount: Int { Int(storage.byteCount) }

  /// Buffers that the list owns.
  public var bufferCount: Int { storage.bufferCount }

  /// Takes a buffer and adds all of it as one segment.
  ///
  /// - Returns: The buffer's index, for ``append(bufferAt:offset:byteCount:)``.
  @discardableResult
  public mutating func append(_ buffer: consuming DMABuffer) -> Int {
    let byteCount = buffer.byteCount
    let index = add(buffer)
    append(bufferAt: index, offset: 0, byteCount: byteCount)
    return index
  }

  /// Takes a buffer without adding a segment of it.
  ///
  /// - Returns: The buffer's index.
  public mutating func add(_ buffer: consuming DMABuffer) -> Int {
    storage.add(buffer.intoReference())
  }

  /// Adds a part of a buffer that the list owns. The same part may be added again and again.
  ///
  /// - Parameters:
  ///   - index: The buffer.
  ///   - offset: First byte of the segment in the buffer.
  ///   - byteCount: Bytes of the segment; at least 1, inside the buffer.
  public mutating func append(bufferAt index: Int, offset: Int, byteCount: Int) {
    let block = storage.buffer(at: index)
    precondition(
      offset >= 0 && byteCount > 0 && offset <= block.byteCount - byteCount,
      "bytes \(offset)..<\(offset + byteCount) are not in a buffer of \(block.byteCount)")
    storage.append(Segment(block: block, offset: offset, byteCount: byteCount))
  }

  /// Takes the buffer that was added last out of the list, with all segments; the other buffers
  /// stay.
  public mutating func removeLastBuffer() -> DMABuffer? {
    guard bufferCount > 0 else { return nil }
    removeAllSegments()
    return DMABuffer(storage.removeLastBuffer())
  }

  /// Forgets the segments; the buffers stay.
  public mutating func removeAllSegments() { storage.removeAllSegments() }

  /// Calls `body` with the bytes in use of buffer `index`.
  public mutating func withUnsafeMutableBytes<R>(
    ofBufferAt index: Int, _ body: (UnsafeMutableRawBufferPointer) -> R
  ) -> R {
    let block = storage.buffer(at: index)
    return unsafe body(UnsafeMutableRawBufferPointer(start: block.base, count: block.byteCount))
  }
}
