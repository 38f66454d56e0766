import DMAPool
import Virtio

/// Ranges that are not whole blocks: bounce blocks, and read-modify-write under a lock (DESIGN §3).
///
/// A partly written block is read, changed and written back in one slot. Until the whole operation
/// has ended, its blocks are locked in the device's table (read-modify-writes of all queues exclude
/// each other), and whatever overlaps it on this queue waits, in order of submission.
extension Queue {
  /// Adds a bio that goes through a bounce block: part of a block, or whole blocks of memory that
  /// the device can't reach or that is in too many pieces.
  ///
  /// - Returns: False where no bounce block is free.
  mutating func addBounced(_ index: UInt32) -> Bool {
    guard let bounce = memory.takeBounceBlock() else { return false }
    let position = dios[index].position
    let block = UInt64(limits.logicalBlockSize)
    let skip = position & blockMask
    let isPart = skip != 0 || dios[index].remaining < block
    let count: UInt64
    if isPart {
      count = min(block - skip, dios[index].remaining)
    } else if case .memory = dios[index].source {
      let room = unsafe min(memory.bounce.blockByteCount, limits.maxSegmentSize)
      let left = min(dios[index].remaining, zoneRoom(at: position))
      count = min(UInt64(room), left) & ~blockMask
    } else {
      count = block
    }
    let operation = dios[index].operation
    let modifies = isPart && operation == .write
    let detail = BounceDetail(
      place: dios[index].place, skip: Int(skip), byteCount: Int(count),
      isReadModifyWrite: modifies, isWriting: false)
    let head = takeSlot(for: index)
    let onDevice = UInt32(isPart ? block : count)
    fill(head, modifies ? .read : operation, dio: index, position: position - skip, onDevice)
    records[head].block = bounce
    memory.details[head] = detail
    if operation == .write, !modifies {
      copyBounced(detail, of: index, bounce: bounce, toSource: false)
    }
    addChain(
      head, address: bounce.deviceAddress, count: UInt64(onDevice),
      deviceWrites: modifies || operation == .read)
    let next = dios[index].source.advance(detail.place, by: Int(count))
    countBios(1, dio: index, consumed: count, next: next)
    return true
  }

  /// Copies a bio's bytes between its bounce block and its dio's source.
  mutating func copyBounced(
    _ detail: BounceDetail, of index: UInt32, bounce: BlockReference, toSource: Bool
  ) {
    dios[index].source.copy(detail, bounce: bounce, toSource: toSource)
    counters.bouncedBytes &+= UInt64(detail.byteCount)
  }

  /// The second half of a read-modify-write, in the slot and the bounce block of the first.
  mutating func writeBack(_ head: UInt32) {
    guard let bounce = records[head].block else { return }
    records[head].operation = .write
    records[head].expected = BioRecord.part | UInt64(Operation.write.writableBytes(0))
    requests[head].write(.write, sector: records[head].position >> Sector.shift)
    addChain(
      head, address: bounce.deviceAddress, count: UInt64(records[head].byteCount),
      deviceWrites: false)
  }

  // MARK: - Waiting

  /// Whether a dio may begin: nothing earlier that it overlaps waits or holds locks, and a partial
  /// write has nothing under way in its way and gets its locks, all or none.
  mutating func mayStart(_ index: UInt32) -> Bool {
    guard dios[index].byteCount > 0, !dios[index].holdsLocks else { return true }
    for place in 0..<state.stalledCount {
      let other = memory.stalled[place]
      if other == index { break }
      if overlaps(index, other) { return false }
    }
    if state.lockHolders > 0, anyDio(overlapping: index, where: { $0.holdsLocks }) {
      return false
    }
    guard let blocks = partialBlocks(index) else { return true }
    if changesUnderWay(index) || !device.locks.tryLock(blocks) { return false }
    dios[index].holdsLocks = true
    state.lockHolders += 1
    updateFastPath()
    return true
  }

  /// The blocks that a write covers only in part, at most two; nil if there are none.
  private mutating func partialBlocks(_ index: UInt32) -> BlockPair? {
    let end = dios[index].start + dios[index].byteCount
    guard dios[index].operation == .write, (dios[index].start | end) & blockMask != 0 else {
      return nil
    }
    let block = UInt64(limits.logicalBlockSize)
    let first = dios[index].start / block
    let last = (end - 1) / block
    return BlockPair(
      first: dios[index].start & blockMask != 0 ? first : last,
      last: end & blockMask != 0 ? last : first)
  }

  /// Whether a write-like operation of this queue is under way in the dio's blocks.
  private mutating func changesUnderWay(_ index: UInt32) -> Bool {
    if anyDio(
      overlapping: index,
      where: { $0.operation.changesData && !$0.isStalled })
    {
      return true
    }
    let range = coveredBlocks(index)
    for head in 0..<headLimit where records[head].isPlain {
      guard records[head].operation == .write else { continue }
      let start = records[head].position
      if start < range.end, start + UInt64(records[head].byteCount) > range.start { return true }
    }
    return false
  }

  private mutating func anyDio(
    overlapping index: UInt32, where matches: (borrowing DioRecord) -> Bool
  ) -> Bool {
    for other in dios.indices where other != index {
      if dios[other].isActive, matches(dios[other]), overlaps(index, other) { return true }
    }
    return false
  }

  private mutating func coveredBlocks(_ index: UInt32) -> (start: UInt64, end: UInt64) {
    let end = dios[index].start + dios[index].byteCount
    return (dios[index].start & ~blockMask, (end + blockMask) & ~blockMask)
  }

  private mutating func overlaps(_ one: UInt32, _ other: UInt32) -> Bool {
    let a = coveredBlocks(one)
    let b = coveredBlocks(other)
    return a.start < b.end && b.start < a.end
  }

  /// Lets a dio wait, with a slot where one is free; it is tried again once a poll.
  mutating func stall(_ index: UInt32) {
    precondition(!dios[index].isStalled, "a dio waits once")
    dios[index].isStalled = true
    memory.stalled[state.stalledCount] = index
    state.stalledCount += 1
    pendingWork += 1
    holdSlot(for: index)
    updateFastPath()
  }

  mutating func unstall(_ index: UInt32) {
    guard let place = (0..<state.stalledCount).first(where: { memory.stalled[$0] == index }) else {
      preconditionFailure("the dio does not wait")
    }
    for later in place..<(state.stalledCount - 1) {
      memory.stalled[later] = memory.stalled[later + 1]
    }
    dios[index].isStalled = false
    state.stalledCount -= 1
    pendingWork -= 1
    updateFastPath()
  }

  /// Tries each waiting dio once, in order of submission.
  mutating func retryStalled() {
    var place = 0
    while place < state.stalledCount {
      let index = memory.stalled[place]
      if !retry(index) { place += 1 }
    }
  }

  /// - Returns: Whether the dio no longer waits.
  private mutating func retry(_ index: UInt32) -> Bool {
    guard dios[index].heldSlot != BioRecord.none || hasSlot else { return false }
    if dios[index].isFlushing {
      unstall(index)
      addFixed(.flush, dio: index)
      return true
    }
    guard mayStart(index) else { return false }
    let before = dios[index].remaining
    guard dios[index].operation.isTransfer else {
      guard dios[index].operation != .zoneAppend || fitsAppend(index) else { return false }
      unstall(index)
      begin(index)
      return true
    }
    advanceCursor(index)
    guard dios[index].remaining < before else { return false }
    unstall(index)
    return true
  }

  // MARK: - Locks

  mutating func unlockBlocks(_ index: UInt32) {
    guard let blocks = partialBlocks(index) else { return }
    device.locks.unlock(blocks)
    dios[index].holdsLocks = false
    state.lockHolders -= 1
    updateFastPath()
  }

  /// Opens the fast path where nothing forbids it: no reset, no waiting dio, no lock held, no zones
  /// that a request may not leave. What is plain is never more than the whole device: the gate
  /// subtracts it from the capacity.
  mutating func updateFastPath() {
    let isOpen = state.stalledCount == 0 && state.lockHolders == 0 && !limits.isHostManaged
    let plain = min(capacity, limits.maxPlainBytes)
    maxReadBytes = isOpen ? plain : 0
    maxWriteBytes = isOpen && !device.info.isReadOnly ? plain : 0
  }
}
