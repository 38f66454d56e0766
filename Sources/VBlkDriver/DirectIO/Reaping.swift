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
  mutating func attend() -> Completion? {
    if device.epochWord.load(ordering: .acquiring) != epoch {
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

  /// Looks how far the device says it is and holds it against I3.
  ///
  /// - Returns: Whether there is something to reap.
  mutating func lookAgain() -> Bool {
    if isInOrder { return lookInOrder() }
    let seen = usedIndex()
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
    repeat {
      while lastUsed != usedSeen { reapOne() }
    } while isPositional && state.keptCount == 0 && !state.isStopped && lookAgain()
    // In order every completion comes this way: what is submitted in between is left to be kicked
    // together.
    if !isInOrder || state.keptCount == 0 { kick() }
    return state.keptCount > 0 ? takeKept() : nil
  }

  /// The same where the fast path has stepped over a packed ring's request that is not plain.
  @inline(never)
  @usableFromInline
  mutating func nextUnreaped() -> Completion? {
    if isPacked { packed.unstepPlain() }
    return nextSlow()
  }

  /// Asks for the request lines of what was seen, all at once and for writing: the device had them
  /// last, their slots are used again next, and one at a time each would cost a round trip. Only a
  /// hint: ids are checked when they are reaped.
  @inline(never)
  @usableFromInline
  mutating func prefetchSeen() {
    guard !isPacked else { return }
    for step in 0..<min(usedSeen &- lastUsed, Limits.prefetched) {
      let id = ring.usedElement(at: lastUsed &+ step).id
      guard id < headLimit else { return }
      requests[id].prefetch()
    }
  }

  /// Reaps one used entry, if a packed ring has one. Whatever ends by it is kept for delivery.
  @inline(__always)
  mutating func reapOne() {
    guard let (id, length) = usedElement() else {
      usedSeen = lastUsed
      return
    }
    guard id < headLimit else {
      return violate(.usedIDOutOfRange, UInt64(id), bound: UInt64(headLimit))
    }
    let status = requests[id].status
    guard _fastPath(UInt64(length) | BioRecord.part == records[id].expected),
      _fastPath(status == 0)
    else { return reapUnusual(id, length, status) }
    stepUsed(id)
    endPart(id, code: nil)
  }

  /// Reaps a used entry of a known id that is not the full success of a dio's bio.
  @inline(never)
  private mutating func reapUnusual(_ id: UInt32, _ length: UInt32, _ status: UInt8) {
    guard records[id].isOwned else {
      return violate(.usedIDNotInFlight, UInt64(id), bound: UInt64(headLimit))
    }
    guard status != RequestStatus.poison else {
      // One that a batch passed over without its status was not used: a later one was, before it.
      return violate(
        isSkipped ? .usedOutOfOrder : .statusNotWritten, UInt64(id),
        bound: UInt64(RequestStatus.poison))
    }
    let writable = writableBytes(id)
    let operation = records[id].operation
    guard length <= writable else {
      return violate(.usedLengthTooLarge, UInt64(length), bound: UInt64(writable))
    }
    var code = VBlkError.Code(status: status, isZoned: limits.zoned != nil)
    // Success needs the right length too; a write's may be reported as 0 (legacy devices).
    if code == nil, writable > 1, length != writable, operation != .zoneReport {
      code = .shortTransfer
    }
    if code == nil, operation.isZoned, !takeZonedAnswer(id, length) { return }
    if code == .unknownStatus { state.lastUnknownStatus = status }
    stepUsed(id)
    endBio(id, code: code)
  }

  /// Bytes of the request in slot `id` that the device may write, the status among them.
  mutating func writableBytes(_ id: UInt32) -> UInt32 {
    records[id].operation.writableBytes(records[id].byteCount)
  }

  @inline(__always)
  mutating func usedElement() -> (id: UInt32, length: UInt32)? {
    guard isPositional else { return ring.usedElement(at: lastUsed) }
    if isInOrder { return elementInOrder() }
    let word = packed.nextWord
    return packed.isUsed(word) ? PackedRing.usedElement(word) : nil
  }

  /// Goes on by one used entry, or by all descriptors of a packed ring that the chain took.
  @inline(__always)
  mutating func stepUsed(_ id: UInt32) {
    lastUsed &+= 1
    guard isPositional else { return }
    if isInOrder { usedSeen = lastUsed }
    if isPacked { packed.step(Int(records[id].span)) }
  }

  /// Ends the bio in slot `id`, by its completion or by the sweep.
  mutating func endBio(_ id: UInt32, code: VBlkError.Code?) {
    if records[id].isPlain {
      endPlain(id, code: code)
    } else {
      endPart(id, code: code)
    }
  }

  private mutating func endPlain(_ id: UInt32, code: VBlkError.Code?) {
    let byteCount = Int(records[id].byteCount)
    let tag = records[id].tag
    let block = records[id].block
    records[id].code = code?.rawValue ?? 0
    if code == nil { counters.bytes &+= UInt64(byteCount) }
    freeSlot(id)
    // After a drop that was not the last the dio belongs to its synchronous caller.
    guard records[id].count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    else { return }
    guard let block else { preconditionFailure("a plain bio has a buffer") }
    keep(
      KeptCompletion(
        tag: tag, result: IOResult(byteCount: byteCount, code: code), source: .buffer(block)))
  }

  /// Ends one bio of a dio that has a record of its own.
  @inline(__always)
  private mutating func endPart(_ id: UInt32, code: VBlkError.Code?) {
    let index = records[id].owner
    if let code, dios[index].code == 0 { dios[index].code = code.rawValue }
    if code == .unsupported { device.turnOff(records[id].operation) }
    if records[id].block != nil, endBounce(id, code: code) { return }
    if code == nil { counters.bytes &+= UInt64(records[id].byteCount) }
    releaseSlot(id)
    refill(index)
    dropDio(index)
  }

  /// Copies a bounced bio's data out, or turns the read of a read-modify-write into its write.
  ///
  /// - Returns: Whether the bio goes on in the same slot.
  @inline(never)
  private mutating func endBounce(_ id: UInt32, code: VBlkError.Code?) -> Bool {
    guard let block = records[id].block else { return false }
    let index = records[id].owner
    let detail = memory.details[id]
    if code == nil, dios[index].operation == .read {
      copyBounced(detail, of: index, bounce: block, toSource: true)
    }
    if detail.isReadModifyWrite, !detail.isWriting, dios[index].code == 0 {
      copyBounced(detail, of: index, bounce: block, toSource: false)
      memory.details[id].isWriting = true
      writeBack(id)
      return true
    }
    memory.giveBounceBlock(block)
    records[id].block = nil
    return false
  }

  // MARK: - The last drop

  /// Gives one reference of a dio back. At 0 the caller owns the dio and ends its stage:
  /// (a) data done without error, durable → the FLUSH stage begins, with a count of its own;
  /// (b) else the dio finishes: result, locks given back, and either the record stays for the
  ///     synchronous caller, or it is free: a spread dio's part has ended, or one Completion is
  ///     kept.
  /// After a drop that was not the last the dio is not touched.
  @inline(__always)
  mutating func dropDio(_ index: UInt32) {
    let left = dios[index].count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
    precondition(left != .max, "a dio's count fell below 0")
    guard left == 0 else { return }
    endStage(index)
  }

  @inline(never)
  private mutating func endStage(_ index: UInt32) {
    if dios[index].isDurable, !dios[index].isFlushing, dios[index].code == 0, !state.isStopped,
      !device.cache.isStable(since: dios[index].cacheWord)
    {
      beginFlushStage(index)
    } else {
      finish(index)
    }
  }

  /// Everything written is followed by a FLUSH, in the slot that has just come free (rule 8).
  private mutating func beginFlushStage(_ index: UInt32) {
    dios[index].isFlushing = true
    dios[index].count.store(dios[index].isSynchronous ? 2 : 1, ordering: .relaxed)
    addFixed(.flush, dio: index)
  }

  private mutating func finish(_ index: UInt32) {
    if dios[index].holdsLocks { unlockBlocks(index) }
    if dios[index].heldSlot != BioRecord.none { releaseHeldSlot(index) }
    guard !dios[index].isSynchronous else { return }
    if let part = dios[index].part { return finishPart(index, part) }
    let result = self.result(of: index)
    let kept = KeptCompletion(
      tag: dios[index].tag, result: result, source: dios[index].source,
      appendedAt: dios[index].appendedAt)
    freeDio(index)
    keep(kept)
  }

  /// What a dio has come to (rule 3): its first error, else its bytes.
  mutating func result(of index: UInt32) -> IOResult {
    let code = dios[index].code
    return IOResult(
      byteCount: Int(dios[index].byteCount),
      code: code == 0 ? nil : VBlkError.Code(rawValue: code))
  }

  // MARK: - Kept completions

  /// Keeps a finished operation for delivery; it holds a credit, not a slot (rule 9).
  @inline(__always)
  mutating func keep(_ completion: KeptCompletion) {
    precondition(state.keptCount < memory.kept.count, "more completions kept than slots")
    let place = state.keptFirst &+ state.keptCount
    memory.kept[place < memory.kept.count ? place : place &- memory.kept.count] = completion
    state.keptCount += 1
    pendingWork += 1
    freeCount -= 1
    usedSeen = lastUsed
  }

  @inline(__always)
  mutating func takeKept() -> Completion {
    let kept = memory.kept[state.keptFirst]
    state.keptFirst = state.keptFirst + 1 == memory.kept.count ? 0 : state.keptFirst + 1
    state.keptCount -= 1
    pendingWork -= 1
    freeCount += 1
    if kept.appendedAt != .max { state.lastAppend = kept.appendedAt }
    return Completion(
      tag: kept.tag, result: kept.result, kept.source, isKept: device.isQuarantined)
  }
}

extension Completion {
  /// The completion of an operation that moved its data through `source`. Where a device may still
  /// write to that memory, it is kept from reuse.
  init(tag: UInt64, result: IOResult, _ source: DioSource, isKept: Bool) {
    switch source {
    case .buffer(let block) where !isKept:
      self.init(tag: tag, result: result, buffer: DMABuffer(block), segments: nil)
    case .list(let storage) where !isKept:
      self.init(tag: tag, result: result, buffer: nil, segments: SegmentList(storage: storage))
    default: self.init(tag: tag, result: result, buffer: nil, segments: nil)
    }
  }
}

extension VBlkError.Code {
  /// The one place where a device's status becomes ours; nil for OK.
  ///
  /// - Parameters:
  ///   - status: The byte.
  ///   - isZoned: Whether the device may use those of zones.
  init?(status: UInt8, isZoned: Bool) {
    switch RequestStatus(rawValue: status) {
    case .ok: return nil
    case .ioError: self = .ioError
    case .unsupported: self = .unsupported
    case .zoneInvalidCommand where isZoned: self = .zoneInvalidCommand
    case .zoneUnalignedWritePointer where isZoned: self = .zoneUnalignedWritePointer
    case .zoneOpenResource where isZoned: self = .zoneOpenResource
    case .zoneActiveResource where isZoned: self = .zoneActiveResource
    default: self = .unknownStatus
    }
  }
}
