public import DMAPool
import Synchronization
import Virtio

/// Submissions that are not plain: everything is checked and translated first, then slots are
/// reserved, then bios are added (DESIGN §2, rule 4). Nothing here polls or waits.
extension Queue {
  /// A read or write that the fast path passed on.
  @inline(never)
  @usableFromInline
  mutating func submitSlow(
    _ operation: Operation, at offset: UInt64, _ block: BlockReference,
    tag: UInt64, durable: Bool
  ) -> Submission<DMABuffer> {
    let wanted = UInt64(block.byteCount)
    if !durable, isOpen(operation), isPlain(offset, wanted, block, capacity) {
      addStraight(prepareDio(operation, at: offset, wanted, .buffer(block), tag: tag), block)
      return .queued
    }
    switch admit(operation, at: offset, count: wanted, source: .buffer(block), durable: durable) {
    case .ended(let result): return .completed(result, DMABuffer(block))
    case .refused(let code): return .refused(code, DMABuffer(block))
    case .accepted(let count):
      start(operation, at: offset, count, .buffer(block), tag: tag, durable: durable)
      return .queued
    }
  }

  /// Reads from byte `offset` of the device into the list's segments, in their order.
  ///
  /// The rules of ``submitRead(at:into:tag:)-(UInt64,DMABuffer,_)`` hold.
  public mutating func submitRead(
    at offset: UInt64, into segments: consuming SegmentList, tag: UInt64
  ) -> Submission<SegmentList> {
    submitList(.read, at: offset, segments, tag: tag, durable: false)
  }

  /// Writes the list's segments, in their order, to byte `offset` of the device.
  ///
  /// The rules of ``submitWrite(at:from:tag:durable:)-(_,DMABuffer,_,_)`` hold.
  public mutating func submitWrite(
    at offset: UInt64, from segments: consuming SegmentList, tag: UInt64, durable: Bool = false
  ) -> Submission<SegmentList> {
    submitList(.write, at: offset, segments, tag: tag, durable: durable)
  }

  private mutating func submitList(
    _ operation: Operation, at offset: UInt64, _ segments: consuming SegmentList, tag: UInt64,
    durable: Bool
  ) -> Submission<SegmentList> {
    let list = segments.intoStorage()
    let wanted = list.byteCount
    if !durable, isOpen(operation), list.plainArena == arena, fits(offset, wanted, capacity) {
      advanceCursor(prepareDio(operation, at: offset, wanted, .list(list), tag: tag))
      return .queued
    }
    switch admit(operation, at: offset, count: wanted, source: .list(list), durable: durable) {
    case .ended(let result): return .completed(result, SegmentList(storage: list))
    case .refused(let code): return .refused(code, SegmentList(storage: list))
    case .accepted(let count):
      start(operation, at: offset, count, .list(list), tag: tag, durable: durable)
      return .queued
    }
  }

  /// Makes every write that had completed durable. Ends inside the call where the device's cache
  /// is write-through (virtio 1.2, 5.2.6.2).
  public mutating func submitFlush(tag: UInt64) -> PlainSubmission {
    submitFixed(.flush, at: 0, count: 0, tag: tag)
  }

  /// Discards `byteCount` bytes at byte `offset`, both whole blocks; what they read as afterwards
  /// is undefined (virtio 1.2, 5.2.6.2).
  public mutating func submitDiscard(
    at offset: UInt64, byteCount: UInt64, tag: UInt64
  ) -> PlainSubmission {
    submitFixed(.discard, at: offset, count: byteCount, tag: tag)
  }

  /// Makes `byteCount` bytes at byte `offset`, both whole blocks, read as zeroes.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - byteCount: Bytes.
  ///   - mayUnmap: Whether the device may unmap the range to do it.
  ///   - tag: Any number; the completion carries it.
  /// - Returns: Whether the operation is under way, already ended, or refused with nothing done.
  public mutating func submitWriteZeroes(
    at offset: UInt64, byteCount: UInt64, mayUnmap: Bool = false, tag: UInt64
  ) -> PlainSubmission {
    submitFixed(
      .writeZeroes, at: offset, count: byteCount, tag: tag,
      rangeFlags: mayUnmap ? RangeSegment.unmap : 0)
  }

  /// Erases `byteCount` bytes at byte `offset` beyond recovery, whole units of the device's
  /// `secureErase.alignment`; what they read as afterwards is undefined (virtio 1.2, 5.2.6).
  public mutating func submitSecureErase(
    at offset: UInt64, byteCount: UInt64, tag: UInt64
  ) -> PlainSubmission {
    submitFixed(.secureErase, at: offset, count: byteCount, tag: tag)
  }

  mutating func submitFixed(
    _ operation: Operation, at offset: UInt64, count: UInt64, tag: UInt64, rangeFlags: UInt32 = 0
  ) -> PlainSubmission {
    switch admit(operation, at: offset, count: count, source: .none, durable: false) {
    case .ended(let result): return .completed(result)
    case .refused(let code): return .refused(code)
    case .accepted(let count):
      start(operation, at: offset, count, .none, tag: tag, durable: false, rangeFlags: rangeFlags)
      return .queued
    }
  }

  // MARK: - Check

  /// What the checks before a submission come to.
  enum Admission: Equatable {
    case ended(IOResult)
    case refused(VBlkError.Code)
    case accepted(byteCount: UInt64)
  }

  /// Whether whole blocks that are read or written have nothing to wait for, as on the fast path:
  /// what fits there but for its size, or its list of segments, needs no other check. A reset that
  /// was not followed yet is followed first.
  @inline(__always)
  private mutating func isOpen(_ operation: Operation) -> Bool {
    (operation == .read ? maxReadBytes : maxWriteBytes) > 0
      && device.epochWord.load(ordering: .acquiring) == epoch
  }

  /// All checks of an asynchronous submission, a free slot last.
  private mutating func admit(
    _ operation: Operation, at offset: UInt64, count: UInt64, source: DioSource, durable: Bool
  ) -> Admission {
    let admission = check(operation, at: offset, count: count, source: source)
    switch admission {
    case .accepted where freeCount <= 0 || !hasSlot:
      counters.ringFullStalls &+= 1
      return .refused(.busy)
    case .refused, .accepted, .ended: return admission
    }
  }

  /// The checks that have nothing to do with slots (rule 3): the queue, the range, the limits, and
  /// every segment's translation.
  mutating func check(
    _ operation: Operation, at offset: UInt64, count: UInt64, source: DioSource
  ) -> Admission {
    state.refusal = Refusal(operation: operation, offset: offset, byteCount: count)
    if state.isStopped || device.epochWord.load(ordering: .acquiring) != epoch {
      if let code = refusalWhileStopped() { return .refused(code) }
    }
    if operation.changesData, device.info.isReadOnly { return .refused(.readOnly) }
    let admission = checkRange(operation, at: offset, count: count)
    guard case .accepted(let clamped) = admission else { return admission }
    if let code = checkTranslation(source, count: clamped) { return .refused(code) }
    if operation == .zoneAppend,
      segmentCount(of: source, byteCount: Int(clamped)) > memory.layout.maxSegments
    {
      return .refused(.tooLarge)
    }
    return admission
  }

  private mutating func checkRange(_ operation: Operation, at offset: UInt64, count: UInt64)
    -> Admission
  {
    switch operation {
    case .flush:
      return device.cache.mayHoldWrites
        ? .accepted(byteCount: 0) : .ended(IOResult(success: 0))
    case .identify: return .accepted(byteCount: count)
    case .lifetime:
      let isKnown = device.info.accepted.contains(.lifetime) && !device.isOff(operation)
      return isKnown ? .accepted(byteCount: count) : .refused(.unsupported)
    case .discard, .writeZeroes, .secureErase:
      if device.isOff(operation) || limits.range(operation).maxBytes == 0 {
        return .refused(.unsupported)
      }
    case .zoneReport, .zoneAppend, .zoneOpen, .zoneClose, .zoneFinish, .zoneReset, .zoneResetAll:
      return checkZoned(operation, at: offset, count: count)
    case .read, .write: break
    }
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow else { return .refused(.invalidArgument) }
    let size = capacity & ~blockMask
    if operation == .read, offset >= size || count == 0 { return .ended(IOResult(success: 0)) }
    if operation == .read { return .accepted(byteCount: min(count, size - offset)) }
    guard end <= size, offset < size || count == 0 else { return .refused(.noSpace) }
    guard count > 0 else { return .ended(IOResult(success: 0)) }
    return isWhole(operation, at: offset, count: count, size: size)
      ? .accepted(byteCount: count) : .refused(.invalidArgument)
  }

  /// Whether a range that changes the device is made of the units that it must be: erase units, the
  /// granules of a host-managed device, blocks; or bytes, for an ordinary write.
  private mutating func isWhole(
    _ operation: Operation, at offset: UInt64, count: UInt64, size: UInt64
  ) -> Bool {
    switch operation {
    case .write:
      guard limits.isHostManaged, let zoned = limits.zoned else { return true }
      return offset % zoned.writeGranularity == 0 && count % zoned.writeGranularity == 0
    case .secureErase:
      let unit = UInt64(limits.secureErase.alignment)
      return offset % unit == 0 && (count % unit == 0 || offset + count == size)
    default: return (offset | count) & blockMask == 0
    }
  }

  /// Walks the source's segments: each must be mapped for the device, without a hole.
  mutating func checkTranslation(_ source: DioSource, count: UInt64) -> VBlkError.Code? {
    switch source {
    case .none, .memory: return nil
    case .buffer(let block): return checkRuns(block, at: 0, count: Int(count))
    case .list(let list):
      if list.plainArena == arena { return nil }
      var left = Int(count)
      for index in 0..<list.segmentCount where left > 0 {
        let segment = list[index]
        let used = min(left, segment.byteCount)
        if let code = checkRuns(segment.block, at: segment.offset, count: used) { return code }
        left -= used
      }
      return nil
    }
  }

  private mutating func checkRuns(
    _ block: BlockReference, at offset: Int, count: Int
  ) -> VBlkError.Code? {
    guard block.arena == arena || device.isMapped(block.arena) else {
      return .foreignMemory
    }
    guard !block.isOneRun else { return nil }
    var done = 0
    while done < count {
      let run = block.run(at: offset + done, limit: count - done)
      guard run.byteCount > 0 else { return .fault }
      done += run.byteCount
    }
    return nil
  }

  // MARK: - Start

  /// Whether one plain bio can do it.
  private mutating func isPlainEnough(_ operation: Operation, at offset: UInt64, _ count: UInt64)
    -> Bool
  {
    (offset | count) & blockMask == 0
      && count <= limits.maxPlainBytes && operation.isTransfer && count <= zoneRoom(at: offset)
  }

  /// Begins an operation that passed every check and has a slot.
  private mutating func start(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource, tag: UInt64,
    durable: Bool, rangeFlags: UInt32 = 0
  ) {
    let needsFlush = durable && (device.cache.isSwitchable || device.cache.mayHoldWrites)
    if case .buffer(let block) = source, !needsFlush, state.stalledCount == 0,
      state.lockHolders == 0, block.isOneRun,
      isPlainEnough(operation, at: offset, count)
    {
      return addPlain(operation, at: offset, block, count, tag: tag)
    }
    let index = prepareDio(operation, at: offset, count, source, tag: tag)
    if needsFlush {
      dios[index].isDurable = true
      dios[index].cacheWord = device.cache.current
    }
    dios[index].rangeFlags = rangeFlags
    begin(index)
  }

  /// Takes and fills a dio record; its count is 1, the submitter's.
  mutating func prepareDio(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource, tag: UInt64
  ) -> UInt32 {
    let index = takeDio()
    dios[index].begin(operation, at: offset, count, source, tag: tag, stamp: tick)
    return index
  }

  /// Adds as many bios of a dio as fit, or lets it wait behind what it overlaps.
  mutating func begin(_ index: UInt32) {
    guard mayStart(index) else { return stall(index) }
    if dios[index].operation.isOneBio { addOneBio(index) } else { advanceCursor(index) }
  }
}
