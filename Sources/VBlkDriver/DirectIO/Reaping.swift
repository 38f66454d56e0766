import CHostIO
import DMAPool
import Synchronization
import Virtio

/// The slow half of polling: what the fast path of ``Queue/next()`` passes on.
///
/// One reap is: used entry checked → status read → first error recorded → bounced data copied out
/// → slot refilled from the cursor, or free → count − 1 → at 0 the stage ends (DESIGN §2, rule 1).
extension Queue {
  /// Cares for what an ordinary look does not: the tick, a reset, kept completions, stalled dios, a
  /// used index that can't be; then goes on as ``next()`` does.
  @inline(never)
  @usableFromInline
  mutating func attend(_ seen: UInt16) -> Completion? {
    if epochWord.pointee.load(ordering: .acquiring) != epoch {
      followReset()
    } else if state.isStopped {
      resumeIfRestarted()
    }
    if counters.polls & (Limits.pollsPerTick - 1) == 0 || state.isStopped { slowTick() }
    if state.stalledCount > 0 { retryStalled() }
    if state.keptCount > 0 { return takeKept() }
    if state.isStopped {
      counters.emptyPolls &+= 1
      return nil
    }
    guard lookAgain() else {
      counters.emptyPolls &+= 1
      kick()
      return state.keptCount > 0 ? takeKept() : nil
    }
    return nextSlow()
  }

  /// Reads the used index and holds it against I3.
  ///
  /// - Returns: Whether there is something to reap.
  mutating func lookAgain() -> Bool {
    let seen = ring.usedIndex()
    guard seen &- lastUsed <= availPublished &- lastUsed else {
      violate(.usedIndexJumped, UInt64(seen), bound: UInt64(availPublished))
      return false
    }
    usedSeen = seen
    return seen != lastUsed
  }

  /// Reaps what was seen until an operation has ended; at most what was published.
  @inline(never)
  @usableFromInline
  mutating func nextSlow() -> Completion? {
    while lastUsed != usedSeen { reapOne() }
    kick()
    return state.keptCount > 0 ? takeKept() : nil
  }

  @inline(never)
  @usableFromInline
  mutating func kickForgotten() { kick() }

  /// Reaps one used entry. Whatever ends by it is kept for delivery.
  mutating func reapOne() {
    let (id, length) = ring.usedElement(at: lastUsed)
    guard id < headLimit else {
      return violate(.usedIDOutOfRange, UInt64(id), bound: UInt64(headLimit))
    }
    let record = records + Int(id)
    guard record.pointee.isOwned else {
      return violate(.usedIDNotInFlight, UInt64(id), bound: UInt64(headLimit))
    }
    let status = chio_load8_once(
      requests + Int(id) << RequestArea.shift + RequestArea.statusOffset)
    guard status != RequestStatus.poison else {
      return violate(.statusNotWritten, UInt64(id), bound: UInt64(RequestStatus.poison))
    }
    let writable = record.pointee.operation.deviceWrites ? record.pointee.byteCount + 1 : 1
    guard length <= writable else {
      return violate(.usedLengthTooLarge, UInt64(length), bound: UInt64(writable))
    }
    lastUsed &+= 1
    var code = VBlkError.Code(status: status)
    // Success needs the right length too; a write's may be reported as 0 (legacy devices).
    if code == nil, record.pointee.operation.deviceWrites, length != writable {
      code = .shortTransfer
    }
    endBio(id, code: code)
  }

  /// Ends the bio in slot `id`, by its completion or by the sweep.
  mutating func endBio(_ id: UInt32, code: VBlkError.Code?) {
    let record = records + Int(id)
    if record.pointee.isPlain {
      endPlain(id, code: code)
    } else {
      endPart(id, code: code)
    }
  }

  private mutating func endPlain(_ id: UInt32, code: VBlkError.Code?) {
    let record = records + Int(id)
    let byteCount = Int(record.pointee.byteCount)
    let tag = record.pointee.tag
    let block = record.pointee.block
    record.pointee.code = code?.rawValue ?? 0
    if code == nil { counters.bytes &+= UInt64(byteCount) }
    freeSlot(id)
    // After a drop that was not the last the dio belongs to its synchronous caller.
    guard record.pointee.count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    else { return }
    guard let block else { preconditionFailure("a plain bio has a buffer") }
    keep(
      KeptCompletion(
        tag: tag, result: IOResult(byteCount: byteCount, code: code), source: .buffer(block)))
  }

  /// Ends one bio of a dio that has a record of its own.
  private mutating func endPart(_ id: UInt32, code: VBlkError.Code?) {
    let record = records + Int(id)
    let index = record.pointee.owner
    let dio = memory.dios + Int(index)
    if let code, dio.pointee.code == 0 { dio.pointee.code = code.rawValue }
    if record.pointee.block != nil, endBounce(id, code: code) { return }
    if code == nil { counters.bytes &+= UInt64(record.pointee.byteCount) }
    record.pointee.state = .free
    releaseSlot(id)
    refill(index)
    dropDio(index)
  }

  /// Copies a bounced bio's data out, or turns the read of a read-modify-write into its write.
  ///
  /// - Returns: Whether the bio goes on in the same slot.
  private mutating func endBounce(_ id: UInt32, code: VBlkError.Code?) -> Bool {
    let record = records + Int(id)
    guard let block = record.pointee.block else { return false }
    let dio = memory.dios + Int(record.pointee.owner)
    let detail = memory.details[Int(id)]
    let inBlock = block.pointee.base + detail.skip
    if code == nil, dio.pointee.operation == .read {
      dio.pointee.source.copy(
        detail.byteCount, at: detail.place, bounce: inBlock, toSource: true)
      counters.bouncedBytes &+= UInt64(detail.byteCount)
    }
    if detail.isReadModifyWrite, !detail.isWriting, dio.pointee.code == 0 {
      dio.pointee.source.copy(
        detail.byteCount, at: detail.place, bounce: inBlock, toSource: false)
      counters.bouncedBytes &+= UInt64(detail.byteCount)
      memory.details[Int(id)].isWriting = true
      writeBack(id)
      return true
    }
    memory.bounce.pointee.give(block)
    record.pointee.block = nil
    return false
  }

  // MARK: - The last drop

  /// Gives one reference of a dio back. At 0 the caller owns the dio and ends its stage:
  /// (a) data done without error, durable → the FLUSH stage begins, with a count of its own;
  /// (b) else the dio finishes: result, locks given back, and either the record stays for the
  ///     synchronous caller, or one Completion is kept and the record is free.
  /// After a drop that was not the last the dio is not touched.
  mutating func dropDio(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    let left = dio.pointee.count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
    precondition(left != .max, "a dio's count fell below 0")
    guard left == 0 else { return }
    if dio.pointee.isDurable, !dio.pointee.isFlushing, dio.pointee.code == 0, !state.isStopped {
      beginFlushStage(index)
    } else {
      finish(index)
    }
  }

  /// Everything written is followed by a FLUSH, in the slot that has just come free (rule 8).
  private mutating func beginFlushStage(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    dio.pointee.isFlushing = true
    dio.pointee.count.store(dio.pointee.isSynchronous ? 2 : 1, ordering: .relaxed)
    addFixed(.flush, dio: index, byteCount: 0)
  }

  private mutating func finish(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    if dio.pointee.holdsLocks { unlockBlocks(index) }
    if dio.pointee.heldSlot != BioRecord.none { releaseHeldSlot(index) }
    guard !dio.pointee.isSynchronous else { return }
    let result = self.result(of: index)
    let kept = KeptCompletion(
      tag: dio.pointee.tag, result: result, source: dio.pointee.source)
    freeDio(index)
    keep(kept)
  }

  /// What a dio has come to (rule 3): its first error, else its bytes.
  func result(of index: UInt32) -> IOResult {
    let dio = memory.dios + Int(index)
    return IOResult(
      byteCount: Int(dio.pointee.byteCount), code: VBlkError.Code(rawValue: dio.pointee.code))
  }

  // MARK: - Kept completions

  /// Keeps a finished operation for delivery; it holds a credit, not a slot (rule 9).
  mutating func keep(_ completion: KeptCompletion) {
    precondition(state.keptCount < memory.dioCount, "more completions kept than slots")
    let place = (state.keptFirst + state.keptCount) % memory.dioCount
    (memory.kept + place).initialize(to: completion)
    state.keptCount += 1
    pendingWork += 1
    freeCount -= 1
    usedSeen = lastUsed
  }

  mutating func takeKept() -> Completion {
    let kept = memory.kept[state.keptFirst]
    state.keptFirst = (state.keptFirst + 1) % memory.dioCount
    state.keptCount -= 1
    pendingWork -= 1
    freeCount += 1
    switch kept.source {
    case .buffer(let block) where !device.isQuarantined:
      return Completion(
        tag: kept.tag, result: kept.result, buffer: DMABuffer(block: block), segments: nil)
    case .list(let storage) where !device.isQuarantined:
      return Completion(
        tag: kept.tag, result: kept.result, buffer: nil, segments: SegmentList(storage: storage))
    default:
      return Completion(tag: kept.tag, result: kept.result, buffer: nil, segments: nil)
    }
  }
}

extension VBlkError.Code {
  /// The one place where a device's status becomes ours; nil for OK.
  init?(status: UInt8) {
    switch RequestStatus(rawValue: status) {
    case .ok: return nil
    case .unsupported: self = .unsupported
    case .zoneInvalidCommand, .zoneUnalignedWritePointer, .zoneOpenResource, .zoneActiveResource,
      .ioError, nil:
      self = .ioError
    }
  }
}
