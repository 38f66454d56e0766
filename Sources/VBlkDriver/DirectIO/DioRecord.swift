import Synchronization

/// A direct I/O operation that is more than one plain bio: several bios, a vectored or unaligned
/// or bounced one, a durable write, and all that is neither read nor write.
///
/// The count starts at 1, the submitter's; a bio takes one when it is added. While there are bytes
/// left to issue the *cursor* holds the submitter's reference, and hands it to the last bio.
/// Whoever brings the count to 0 owns the dio alone (DESIGN §2, rules 1, 2 and 6).
@usableFromInline
struct DioRecord: ~Copyable {
  /// References: the submitter's or the cursor's, and one a bio in flight.
  let count = Atomic<UInt32>(0)
  /// Where the data goes to or comes from.
  var source = DioSource.none
  /// The user's tag.
  var tag: UInt64 = 0
  /// The whole range on the device, for the overlap test.
  var start: UInt64 = 0
  /// Bytes of the whole operation: its result if nothing fails.
  var byteCount: UInt64 = 0
  /// The cursor: bytes not yet given to a bio. What is next on the device and in the source follows
  /// from it and from `place`.
  var remaining: UInt64 = 0
  /// The cursor's place in the source.
  var place = SourcePlace()
  /// The first error, 0 if there is none; later ones do not replace it.
  var code: UInt8 = 0
  var operation = Operation.read
  /// Whether a FLUSH follows the data, unless the cache was write-through all the time.
  var isDurable = false
  /// The device's cache at submission.
  var cacheWord: UInt32 = 0
  /// Where on the device an append's data went, as it said.
  var appendedAt = UInt64.max
  /// Whether the FLUSH is under way.
  var isFlushing = false
  /// Whether a caller waits for the result, which is then returned and never notified.
  var isSynchronous = false
  /// Whether the record is in use.
  var isActive = false
  /// Whether the dio waits for a lock, a bounce block or more slots; it is tried again once a poll.
  var isStalled = false
  /// Whether it holds the locks of its partly written blocks.
  var holdsLocks = false
  /// Flags of the ranges of a write-zeroes (bit 0: unmap).
  var rangeFlags: UInt32 = 0
  /// A slot kept for it while it is stalled, else `BioRecord.none`.
  var heldSlot = BioRecord.none
  /// The tick at submission, or when its last bio was added: deadlines are a bio's.
  var stamp: UInt32 = 0
  /// The part of a spread dio that it carries out; it ends by that, and is never notified.
  var part: Place<SpreadPart>?
  /// Next free record.
  var next: UInt32

  init(next: UInt32) { self.next = next }

  /// Fills the record; the count is the submitter's, which is the cursor's from here on.
  mutating func begin(
    _ operation: Operation, at offset: UInt64, _ byteCount: UInt64, _ source: DioSource,
    tag: UInt64, stamp: UInt32
  ) {
    count.store(1, ordering: .relaxed)
    self.source = source
    self.tag = tag
    start = offset
    self.byteCount = byteCount
    remaining = byteCount
    place = SourcePlace()
    code = 0
    self.operation = operation
    isDurable = false
    cacheWord = 0
    appendedAt = .max
    isFlushing = false
    isSynchronous = false
    isActive = true
    isStalled = false
    holdsLocks = false
    rangeFlags = 0
    heldSlot = BioRecord.none
    self.stamp = stamp
    part = nil
  }

  /// The next device byte that the cursor issues.
  var position: UInt64 { start &+ (byteCount &- remaining) }
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
