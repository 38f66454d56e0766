public import DMAPool

/// Scatter-gather memory of a vectored operation: an ordered list of segments in DMA buffers.
///
/// It owns its buffers. It is moved into a submission and given back by its completion; its
/// storage is allocated when it is made, so that submissions allocate nothing. One machine word.
@frozen
public struct SegmentList: ~Copyable {
  /// Head of the storage; segments and buffers follow it.
  @usableFromInline let storage: UnsafeMutablePointer<SegmentStorage>

  /// An empty list.
  ///
  /// - Parameters:
  ///   - segmentCapacity: Most segments that it can hold.
  ///   - bufferCapacity: Most buffers that it can own; as many as segments unless said otherwise.
  public init(segmentCapacity: Int, bufferCapacity: Int? = nil) {
    precondition(segmentCapacity > 0, "a segment list needs room for at least one segment")
    let storage = UnsafeMutablePointer<SegmentStorage>.allocate(capacity: 1)
    storage.initialize(
      to: SegmentStorage(
        segmentCapacity: segmentCapacity, bufferCapacity: bufferCapacity ?? segmentCapacity))
    self.storage = storage
  }

  /// For the driver: makes the list whose storage was taken by ``intoStorage()``.
  @inlinable @inline(__always)
  init(storage: UnsafeMutablePointer<SegmentStorage>) { self.storage = storage }

  @inlinable @inline(__always)
  consuming func intoStorage() -> UnsafeMutablePointer<SegmentStorage> {
    let storage = self.storage
    discard self
    return storage
  }

  deinit {
    storage.pointee.free()
    storage.deallocate()
  }

  /// Segments in the list.
  public var count: Int { storage.pointee.segmentCount }

  /// Bytes of all segments.
  public var byteCount: Int { Int(storage.pointee.byteCount) }

  /// Buffers that the list owns.
  public var bufferCount: Int { storage.pointee.bufferCount }

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
    let index = storage.pointee.bufferCount
    precondition(
      index < storage.pointee.bufferCapacity,
      "a segment list of \(storage.pointee.bufferCapacity) buffers is full")
    storage.pointee.buffers[index] = buffer.intoBlock()
    storage.pointee.bufferCount += 1
    return index
  }

  /// Adds a part of a buffer that the list owns. The same part may be added again and again.
  ///
  /// - Parameters:
  ///   - index: The buffer.
  ///   - offset: First byte of the segment in the buffer.
  ///   - byteCount: Bytes of the segment; at least 1, inside the buffer.
  public mutating func append(bufferAt index: Int, offset: Int, byteCount: Int) {
    let list = storage
    precondition(
      list.pointee.segmentCount < list.pointee.segmentCapacity,
      "a segment list of \(list.pointee.segmentCapacity) segments is full")
    precondition(index >= 0 && index < list.pointee.bufferCount, "no buffer \(index) in the list")
    let block = list.pointee.buffers[index]
    precondition(
      offset >= 0 && byteCount > 0 && offset <= block.pointee.byteCount - byteCount,
      "bytes \(offset)..<\(offset + byteCount) are not in a buffer of \(block.pointee.byteCount)")
    list.pointee.segments[list.pointee.segmentCount] = Segment(
      block: block, offset: offset, byteCount: byteCount)
    list.pointee.segmentCount += 1
    list.pointee.byteCount += UInt64(byteCount)
  }

  /// Takes the buffer that was added last out of the list, with all segments; the other buffers
  /// stay.
  public mutating func removeLastBuffer() -> DMABuffer? {
    guard storage.pointee.bufferCount > 0 else { return nil }
    removeAllSegments()
    storage.pointee.bufferCount -= 1
    return DMABuffer(block: storage.pointee.buffers[storage.pointee.bufferCount])
  }

  /// Forgets the segments; the buffers stay.
  public mutating func removeAllSegments() {
    storage.pointee.segmentCount = 0
    storage.pointee.byteCount = 0
  }

  /// Calls `body` with the bytes in use of buffer `index`.
  public mutating func withUnsafeMutableBytes<R>(
    ofBufferAt index: Int, _ body: (UnsafeMutableRawBufferPointer) -> R
  ) -> R {
    precondition(
      index >= 0 && index < storage.pointee.bufferCount, "no buffer \(index) in the list")
    let block = storage.pointee.buffers[index]
    return body(
      UnsafeMutableRawBufferPointer(start: block.pointee.base, count: block.pointee.byteCount))
  }
}

/// A stretch of one buffer.
@usableFromInline
struct Segment {
  @usableFromInline var block: UnsafeMutablePointer<DMABlock>
  @usableFromInline var offset: Int
  @usableFromInline var byteCount: Int
}

/// What a ``SegmentList`` points to.
///
/// Invariant: `byteCount` is the sum of the segments'; each segment lies in one of `buffers`.
@usableFromInline
struct SegmentStorage {
  let segmentCapacity: Int
  let bufferCapacity: Int
  @usableFromInline var segmentCount = 0
  var bufferCount = 0
  @usableFromInline var byteCount: UInt64 = 0
  @usableFromInline let segments: UnsafeMutablePointer<Segment>
  let buffers: UnsafeMutablePointer<UnsafeMutablePointer<DMABlock>>

  init(segmentCapacity: Int, bufferCapacity: Int) {
    self.segmentCapacity = segmentCapacity
    self.bufferCapacity = bufferCapacity
    segments = .allocate(capacity: segmentCapacity)
    buffers = .allocate(capacity: bufferCapacity)
  }

  func free() {
    for index in 0..<bufferCount { _ = DMABuffer(block: buffers[index]) }
    segments.deallocate()
    buffers.deallocate()
  }
}
