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
/// 4. `plainArena` is the arena whose memory all segments are, each in a buffer that is one run for
///    the device; 0 where there is no such arena.
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
    var plainArena: UInt32 = 0
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
  var plainArena: UInt32 { list.plainArena }

  subscript(index: Int) -> Segment {
    precondition(index >= 0 && index < segmentCount, "no segment \(index) in the list")
    return unsafe list.segments[index]
  }

  /// Fills `scratch` with segments from `place` on, each whole and one run for the device, and
  /// moves `place` behind them: at most `room`, `most` bytes in all and `longest` each. What comes
  /// next must be looked at more closely.
  @inline(__always)
  func gather(
    _ place: inout SourcePlace, to scratch: Table<DeviceSegment>, _ room: Int, _ most: Int,
    _ longest: Int
  ) -> (count: Int, byteCount: Int) {
    guard plainArena != 0, place.offset == 0 else { return (0, 0) }
    let last = min(segmentCount &- place.segment, room)
    let segments = unsafe list.segments + place.segment
    var count = 0
    var total = 0
    while count < last {
      let byteCount = unsafe segments[count].byteCount
      guard byteCount <= longest, total &+ byteCount <= most else { break }
      let address = unsafe segments[count].block.deviceAddress
      let offset = unsafe UInt64(truncatingIfNeeded: segments[count].offset)
      scratch[count] = DeviceSegment(
        address: address &+ offset, byteCount: UInt32(truncatingIfNeeded: byteCount))
      total &+= byteCount
      count &+= 1
    }
    place.segment &+= count
    return (count, total)
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
    let arena = segment.block.plainArena
    list.plainArena = segmentCount == 0 || list.plainArena == arena ? arena : 0
    list.segmentCount += 1
    list.byteCount += UInt64(segment.byteCount)
  }

  func removeAllSegments() {
    list.segmentCount = 0
    list.byteCount = 0
    list.plainArena = 0
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
