import DMAPool
import Synchronization

/// A direct I/O operation that is more than one plain bio: several bios, a vectored or unaligned
/// or bounced one, a durable write, a flush, discard, write-zeroes or identify.
///
/// The count starts at 1, the submitter's; a bio takes one when it is added. While there are bytes
/// left to issue the *cursor* holds the submitter's reference, and hands it to the last bio.
/// Whoever brings the count to 0 owns the dio alone (DESIGN §2, rules 1, 2 and 6).
@usableFromInline
struct DioRecord: ~Copyable {
  /// References: the submitter's or the cursor's, and one a bio in flight.
  let count: Atomic<UInt32>
  /// Where the data goes to or comes from.
  var source: DioSource
  /// The user's tag.
  var tag: UInt64
  /// The whole range on the device, for the overlap test.
  var start: UInt64
  /// Bytes of the whole operation: its result if nothing fails.
  var byteCount: UInt64
  /// The cursor: bytes not yet given to a bio. What is next on the device and in the source follows
  /// from it and from `place`.
  var remaining: UInt64
  /// The cursor's place in the source.
  var place: SourcePlace
  /// The first error, 0 if there is none; later ones do not replace it.
  var code: UInt8
  var operation: Operation
  /// Whether a FLUSH follows the data.
  var isDurable: Bool
  /// Whether the FLUSH is under way.
  var isFlushing: Bool
  /// Whether a caller waits for the result, which is then returned and never notified.
  var isSynchronous: Bool
  /// Whether the record is in use.
  var isActive: Bool
  /// Whether the dio waits for a lock, a bounce block or more slots; it is tried again once a poll.
  var isStalled: Bool
  /// Whether it holds the locks of its partly written blocks.
  var holdsLocks: Bool
  /// Flags of the ranges of a write-zeroes (bit 0: unmap).
  var rangeFlags: UInt32
  /// A slot kept for it while it is stalled, else `BioRecord.none`.
  var heldSlot: UInt32
  /// The tick at submission.
  var stamp: UInt32
  /// Next free record.
  var next: UInt32

  init(next: UInt32) {
    count = Atomic(0)
    source = .none
    tag = 0
    start = 0
    byteCount = 0
    remaining = 0
    place = SourcePlace()
    code = 0
    operation = .read
    isDurable = false
    isFlushing = false
    isSynchronous = false
    isActive = false
    isStalled = false
    holdsLocks = false
    rangeFlags = 0
    heldSlot = BioRecord.none
    stamp = 0
    self.next = next
  }

  /// The next device byte that the cursor issues.
  var position: UInt64 { start &+ (byteCount &- remaining) }
}

/// What a dio moves its data through.
enum DioSource {
  /// No data, or a fixed answer.
  case none
  /// One DMA buffer.
  case buffer(UnsafeMutablePointer<DMABlock>)
  /// Scatter-gather.
  case list(UnsafeMutablePointer<SegmentStorage>)
  /// The caller's own memory, of a synchronous call: everything bounces.
  case memory(UnsafeMutableRawPointer)
}

/// A place in a ``DioSource``.
struct SourcePlace: Equatable {
  /// The segment of a list; 0 otherwise.
  var segment = 0
  /// Bytes into the segment, buffer or memory.
  var offset = 0
}

/// What a bounced bio must copy when it ends, and whether it is a read-modify-write.
struct BounceDetail {
  /// Where in the source its bytes belong.
  var place = SourcePlace()
  /// Bytes of the block before the first that belongs to the operation.
  var skip = 0
  /// Bytes that belong to the operation.
  var byteCount = 0
  /// The bio reads its block first and writes it then.
  var isReadModifyWrite = false
  /// A read-modify-write whose read is done.
  var isWriting = false
}

extension DioSource {
  /// Copies between `bounce` and the source, from `place` on; slow path.
  func copy(
    _ byteCount: Int, at place: SourcePlace, bounce: UnsafeMutableRawPointer, toSource: Bool
  ) {
    var done = 0
    var place = place
    while done < byteCount {
      let (memory, count) = stretch(at: place, limit: byteCount - done)
      if toSource {
        memory.copyMemory(from: bounce + done, byteCount: count)
      } else {
        (bounce + done).copyMemory(from: memory, byteCount: count)
      }
      done += count
      place = advance(place, by: count)
    }
  }

  /// The bytes at `place`, contiguous for the processor.
  private func stretch(
    at place: SourcePlace, limit: Int
  ) -> (memory: UnsafeMutableRawPointer, byteCount: Int) {
    switch self {
    case .none: preconditionFailure("an operation without data has nothing to copy")
    case .buffer(let block): return (block.pointee.base + place.offset, limit)
    case .memory(let base): return (base + place.offset, limit)
    case .list(let list):
      let segment = list.pointee.segments[place.segment]
      return (
        segment.block.pointee.base + segment.offset + place.offset,
        min(limit, segment.byteCount - place.offset)
      )
    }
  }

  /// `place`, `byteCount` bytes on.
  func advance(_ place: SourcePlace, by byteCount: Int) -> SourcePlace {
    guard case .list(let list) = self else {
      return SourcePlace(segment: 0, offset: place.offset + byteCount)
    }
    var place = place
    var left = byteCount
    while left > 0 {
      let room = list.pointee.segments[place.segment].byteCount - place.offset
      if left < room {
        place.offset += left
        return place
      }
      left -= room
      place = SourcePlace(segment: place.segment + 1, offset: 0)
    }
    return place
  }
}
