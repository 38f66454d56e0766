import Synchronization

/// The steps of a queue, for the explorer of interleavings: it lets the device act between any two
/// of them, and looks after each whether the queue's own books are right.
extension Queue {
  /// One look, and at most one reap; what ends by it is kept, as in a synchronous call.
  ///
  /// - Returns: Whether there was something to reap.
  package mutating func stepReap() -> Bool {
    guard lookForWork() else { return false }
    reapOne()
    return true
  }

  /// Follows a reset, or a restart, of the device.
  package mutating func stepFollow() {
    followReset()
    resumeIfRestarted()
  }

  /// Whether ``stepFollow()`` has something to do.
  package var mustFollow: Bool {
    let current = device.epochWord.load(ordering: .acquiring)
    return current != epoch
      || state.isStopped && memory.enabledEpoch.load(ordering: .acquiring) == epoch
  }

  /// Counts polls from 0 on: one in so many takes the slow path, which is to be at the same place
  /// in
  /// each run.
  package mutating func restartPolls() { counters.polls = 0 }

  /// Completions that wait to be taken by ``next()``.
  package var keptCount: Int { state.keptCount }

  /// Whether ``kick()`` has something to show the device.
  package var hasUnpublished: Bool { availShadow != availPublished }

  /// Whether an operation waits for a lock, a bounce block or a slot.
  package var hasStalled: Bool { state.stalledCount > 0 }

  /// Whether the queue follows the device's present epoch, and runs.
  package var isRunning: Bool {
    !state.isStopped && device.epochWord.load(ordering: .acquiring) == epoch
  }

  /// How many used entries have been reaped since the ring began, modulo 2^16.
  package var reapedIndex: UInt16 { lastUsed }

  /// Doorbells rung, or found unwanted.
  package var rings: UInt64 { counters.kicks + counters.suppressedKicks }

  /// Who is in flight, for a device that asks while a call that waits has the queue.
  package var inFlightTags: InFlightTags { InFlightTags(records: records, dios: dios) }

  /// All slots free, nothing kept, no dio in use, no bounce block out.
  package var isIdle: Bool {
    unsafe dios.indices.allSatisfy { !dios[$0].isActive } && state.keptCount == 0
      && state.stalledCount == 0 && state.lockHolders == 0 && freeCount == depth
      && memory.bounce.freeCount == memory.bounce.count
  }

  private var heads: some Sequence<UInt32> {
    let stride = UInt32(memory.layout.headStride)
    return (0..<UInt32(memory.layout.slotCount)).lazy.map { $0 * stride }
  }

  // MARK: - The books

  /// What is wrong with the queue's books between two steps, or nil: invariants I1 and I3, R2 to
  /// R4, and that each dio's count is the number of those that hold a reference.
  package func brokenInvariant() -> String? {
    var free = 0
    var head = freeHead
    while head != BioRecord.none {
      guard free < depth, head < headLimit else { return "the list of free slots is no list" }
      guard !records[head].isLent, !records[head].isOwned else {
        return "slot \(head) is on the list of free slots and in use"
      }
      free += 1
      head = records[head].next
    }
    let owned = heads.reduce(0) { $0 + (records[$1].isOwned ? 1 : 0) }
    let lent = heads.reduce(0) { $0 + (records[$1].isLent ? 1 : 0) }
    guard free + owned + lent == depth else {
      return "I1: \(free) slots free, \(owned) owned, \(lent) lent, of \(depth)"
    }
    let credits = free - state.keptCount - (state.isStopped ? Limits.closedOffset : 0)
    guard freeCount == credits else { return "freeCount is \(freeCount), not \(credits)" }
    guard Int(availShadow &- lastUsed) == owned else {
      return "I3: \(availShadow &- lastUsed) requests out, \(owned) slots owned"
    }
    guard pendingWork == state.keptCount + state.stalledCount else {
      return "pendingWork is \(pendingWork)"
    }
    for index in dios.indices where dios[index].isActive {
      if let broken = brokenCount(index) { return broken }
    }
    return nil
  }

  private func brokenCount(_ index: UInt32) -> String? {
    let count = Int(dios[index].count.load(ordering: .relaxed))
    let bios = heads.reduce(0) {
      $0 + (records[$1].isPart && records[$1].owner == index ? 1 : 0)
    }
    let isCursors = !dios[index].isSynchronous && dios[index].remaining > 0
    let isFlushs = dios[index].isStalled && dios[index].remaining == 0
    // A FLUSH for which a slot was reserved; after a reset its record is still the spread dio's.
    let isReserved = bios == 0 && dios[index].operation == .flush && dios[index].part == nil
    let holders =
      (dios[index].isSynchronous || isCursors ? 1 : 0) + (isFlushs || isReserved ? 1 : 0)
    return count == bios + holders
      ? nil : "dio \(index) has count \(count), \(bios) bios in flight and \(holders) more holders"
  }

  // MARK: - Poison

  /// Fills what nobody may read with values that lead nowhere: free dio records and free slots.
  package func poison() {
    for index in dios.indices where !dios[index].isActive {
      dios[index].tag = Self.poisoned
      dios[index].byteCount = Self.poisoned
      dios[index].remaining = Self.poisoned
      dios[index].code = 0xFE
    }
    for head in heads where !records[head].isLent && !records[head].isOwned {
      records[head].block = nil
      records[head].tag = Self.poisoned
      records[head].owner = .max
    }
  }

  /// Which free record was written to since ``poison()``, or nil. One that was used and freed since
  /// has lost all of its poison, one that was only touched has not.
  package func touchedPoison() -> String? {
    for index in dios.indices where !dios[index].isActive {
      let marks = [
        dios[index].tag == Self.poisoned, dios[index].byteCount == Self.poisoned,
        dios[index].remaining == Self.poisoned, dios[index].code == 0xFE,
      ]
      if marks.contains(true), marks.contains(false) {
        return "dio \(index) was touched after it was free"
      }
    }
    return nil
  }

  private static var poisoned: UInt64 { 0xDEAD_DEAD_DEAD_DEAD }

  // MARK: - Fingerprint

  /// What the queue's further behaviour depends on, apart from which slot or record is whose.
  ///
  /// - Parameters:
  ///   - add: Takes the words.
  ///   - name: What an operation's tag stands for.
  package func fingerprint(
    _ add: (UInt64) -> Void, naming name: (UInt64) -> UInt64 = { $0 }
  ) {
    var words: [[UInt64]] = []
    for head in heads where records[head].isOwned { words.append(bioWords(head, name)) }
    for index in dios.indices where dios[index].isActive { words.append(dioWords(index, name)) }
    words.sort { $0.lexicographicallyPrecedes($1) }
    for word in words.joined() { add(word) }
    for place in 0..<state.keptCount {
      add(name(memory.kept[(state.keptFirst + place) % memory.kept.count].tag))
    }
    for place in 0..<state.stalledCount { add(name(dios[memory.stalled[place]].tag)) }
    add(UInt64(availShadow &- availPublished) << 32 | UInt64(usedSeen &- lastUsed))
    add(UInt64(bitPattern: Int64(freeCount)))
    add(isRunning ? 1 : 0)
  }

  private func bioWords(_ head: UInt32, _ name: (UInt64) -> UInt64) -> [UInt64] {
    let position = records[head].position
    let operation = UInt64(records[head].operation.rawValue)
    if records[head].isPlain { return [0, name(records[head].tag), position, operation] }
    let isWriting: UInt64 = memory.details[head].isWriting ? 1 : 0
    let owner = records[head].owner
    return [1, name(dios[owner].tag), position, operation, isWriting, partWord(owner)]
  }

  /// Which spread dio a dio is a part of, from 1 on; 0 for none.
  private func partWord(_ index: UInt32) -> UInt64 {
    dios[index].part.map { UInt64($0.value.parent.value.index) + 1 } ?? 0
  }

  private func dioWords(_ index: UInt32, _ name: (UInt64) -> UInt64) -> [UInt64] {
    var flags: UInt64 = dios[index].isStalled ? 1 : 0
    if dios[index].isFlushing { flags |= 2 }
    if dios[index].holdsLocks { flags |= 4 }
    if dios[index].isSynchronous { flags |= 8 }
    let count = UInt64(dios[index].count.load(ordering: .relaxed))
    return [
      2, name(dios[index].tag), UInt64(dios[index].code), dios[index].remaining, count, flags,
      partWord(index), dios[index].start,
    ]
  }
}

/// The tags of operations in flight, by the heads, or buffer ids, of their bios.
package struct InFlightTags {
  let records: Table<BioRecord>
  let dios: Table<DioRecord>

  package subscript(head: UInt16) -> UInt64 {
    let head = UInt32(head)
    return records[head].isPlain ? records[head].tag : dios[records[head].owner].tag
  }

  /// Which spread dio's part it is, by its record; nil for none.
  package func spreadRecord(head: UInt16) -> UInt32? {
    dios[records[UInt32(head)].owner].part?.value.parent.value.index
  }
}
