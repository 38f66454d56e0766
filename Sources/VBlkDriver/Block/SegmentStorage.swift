/// A stretch of one buffer.
struct Segment {
  var block: BlockReference
  var offset: Int
  var byteCount: Int
}

/// What a ``SegmentList`` holds, at an address of its own: one word that goes through submission
/// and completion.
///
/// Invariants
/// 1. `header` and the two tables that it points to live until ``free()``, which the one owner, a
///    ``SegmentList``, calls when it dies; while they are in flight the driver is the owner.
/// 2. The first `segmentCount` segments and `bufferCount` buffers are initialised; no index goes
///    beyond them, no count beyond its capacity.
/// 3. `byteCount` is the sum of the segments'; each segment lies in one of the buffers.
@safe
@usableFromInline
struct SegmentStorage {
  @safe
  private struct Header {
    let segmentCapacity: Int
    let bufferCapacity: Int
    var segmentCount = 0
    var bufferCount = 0
    var byteCount: UInt64 = 0
    let segments: UnsafeMutablePointer<Segment>
    let buffers: UnsafeMutablePointer<BlockReference>
  }

  private let header: UnsafeMutablePointer<Header>

  private var list: Header {
    unsafeAddress { unsafe UnsafePointer(header) }
    nonmutating unsafeMutableAddress { unsafe header }
  }

  init(segmentCapacity: Int, bufferCapacity: Int) {
    unsafe header = .allocate(capacity: 1)
    unsafe header.initialize(
      to: Header(
        segmentCapacity: segmentCapacity, bufferCapacity: bufferCapacity,
        segments: .allocate(capacity: segmentCapacity),
        buffers: .allocate(capacity: bufferCapacity)))
  }

  /// Ends the storage and the buffers in it.
  func free() {
    for index in 0..<bufferCount { _ = DMABuffer(buffer(at: index)) }
    unsafe list.segments.deallocate()
    unsafe list.buffers.deallocate()
    unsafe header.deallocate()
  }

  var segmentCount: Int { list.segmentCount }
  var bufferCount: Int { list.bufferCount }
  var byteCount: UInt64 { list.byteCount }

  subscript(index: Int) -> Segment {
    precondition(index >= 0 && index < segmentCount, "no segment \(index) in the list")
    return unsafe list.segments[index]
  }

  func buffer(at index: Int) -> BlockReference {
    precondition(index >= 0 && index < bufferCount, "no buffer \(index) in the list")
    return unsafe list.buffers[index]
  }

  func append(_ segment: Segment) {
    precondition(
      segmentCount < list.segmentCapacity,
      "a segment list of \(list.segmentCapacity) segments is full")
    unsafe (list.segments + segmentCount).initialize(to: segment)
    list.segmentCount += 1
    list.byteCount += UInt64(segment.byteCount)
  }

  func removeAllSegments() {
    list.segmentCount = 0
    list.byteCount = 0
  }

  /// - Returns: The buffer's index.
  func add(_ block: BlockReference) -> Int {
    let index = bufferCount
    precondition(
      index < list.bufferCapacity, "a segment list of \(list.bufferCapacity) buffers is full")
    unsafe (list.buffers + index).initialize(to: block)
    list.bufferCount += 1
    return index
  }

  /// The segments must have been forgotten before.
  func removeLastBuffer() -> BlockReference {
    let last = buffer(at: bufferCount - 1)
    list.bufferCount -= 1
    return last
  }
}
