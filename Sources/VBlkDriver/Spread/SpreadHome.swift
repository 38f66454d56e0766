import CHostIO
import DMAPool
import Synchronization

/// The side of a spread dio that submits it, ends it and delivers it: one queue of its own, the
/// other members as other threads see them, the table of records. One thread's.
///
/// ```
/// submit   check → reserve → for each share: take a reference, start it here or push it
///          → drop the submitter's own: the last? then the stage ends here
/// members  start the part → … → bytes, error, drop: the last? then push the dio home
/// next     reap this queue → take the inbox → end the stage: FLUSH, or done → deliver
/// ```
/// Nothing is drained in submit: a member may stand still, and it may wait for us.
struct SpreadHome: ~Copyable {
  var queue: Queue
  /// All members but this queue, which is member 0.
  let others: [SharedQueue]
  let layout: SpreadLayout
  let table: SpreadTable
  private var freeRecord: UInt32 = 0
  private(set) var doneFirst = BioRecord.none
  private var doneLast = BioRecord.none
  /// Accepted and not ended.
  private(set) var inFlight = 0
  private(set) var isClosed = false

  init(
    queue: consuming Queue, others: [SharedQueue], layout: SpreadLayout, capacity: Int,
    pause: SpreadPause? = nil
  ) {
    self.queue = queue
    self.others = others
    self.layout = layout
    table = SpreadTable(capacity: capacity, members: others.count + 1, pause: pause)
  }

  private var records: Table<SpreadRecord> { table.records }
  private var shared: Table<SpreadShared> { table.shared }

  /// Bytes of the group: of the one device as it is, of several as they were.
  var byteCount: UInt64 {
    layout.volumes.count == 1
      ? queue.capacity & ~layout.volumes[0].blockMask : layout.byteCount
  }

  // MARK: - Submit

  /// Every step of a submission.
  ///
  /// - Returns: Accepted; or ended, by the submitter's own drop; or refused.
  mutating func submit(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource, tag: UInt64,
    durable: Bool
  ) -> Queue.Admission {
    let admission = check(operation, at: offset, count, source)
    guard case .accepted(let clamped) = admission else { return admission }
    guard
      let index = issue(
        operation, offset..<(offset + clamped), source, tag: tag, durable: durable)
    else { return .refused(.busy) }
    return dropOwn(index).map { .ended($0) } ?? admission
  }

  /// What follows the checks, up to the submitter's own drop.
  ///
  /// - Returns: The record; nil where there is none, or no slot.
  mutating func issue(
    _ operation: Operation, _ range: Range<UInt64>, _ source: DioSource, tag: UInt64, durable: Bool
  ) -> UInt32? {
    let volumes = operation == .flush ? flushedVolumes(.max) : layout.volumes(of: range)
    let flushed = durable ? flushedVolumes(volumes) : 0
    guard let index = reserve(operation, volumes, flushed) else {
      queue.counters.ringFullStalls &+= 1
      return nil
    }
    records[index].source = source
    records[index].tag = tag
    if operation == .flush {
      addFlushes(index)
    } else {
      addParts(index, operation, range)
    }
    return index
  }

  /// All that can be refused, before anything is done (rule 3).
  mutating func check(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource
  ) -> Queue.Admission {
    queue.state.refusal = Refusal(operation: operation, offset: offset, byteCount: count)
    guard !isClosed else { return .refused(.closed) }
    if queue.state.isStopped || queue.device.epochWord.load(ordering: .acquiring) != queue.epoch,
      let code = queue.refusalWhileStopped()
    {
      return .refused(code)
    }
    if operation == .flush {
      return flushedVolumes(.max) == 0
        ? .ended(IOResult(success: 0)) : .accepted(byteCount: 0)
    }
    if operation.changesData, layout.volumes.contains(where: { $0.device.info.isReadOnly }) {
      return .refused(.readOnly)
    }
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow else { return .refused(.invalidArgument) }
    let size = byteCount
    if operation == .read, offset >= size || count == 0 { return .ended(IOResult(success: 0)) }
    guard operation == .read || end <= size else { return .refused(.noSpace) }
    guard count > 0 else { return .ended(IOResult(success: 0)) }
    let clamped = min(count, size - offset)
    if let code = checkMemory(source, clamped) { return .refused(code) }
    return .accepted(byteCount: clamped)
  }

  /// The memory must be mapped for every device of the group.
  private mutating func checkMemory(_ source: DioSource, _ count: UInt64) -> VBlkError.Code? {
    if let code = queue.checkTranslation(source, count: count) { return code }
    for volume in layout.volumes.dropFirst() where !source.isMapped(by: volume.device) {
      return .foreignMemory
    }
    return nil
  }

  private func flushedVolumes(_ volumes: UInt64) -> UInt64 {
    var flushed: UInt64 = 0
    for (index, volume) in layout.volumes.enumerated()
    where volumes >> UInt64(index) & 1 == 1 {
      // A cache that can be switched may have been volatile when something was written.
      let cache = volume.device.cache.isSwitchable || volume.device.cache.mayHoldWrites
      if cache { flushed |= 1 << UInt64(index) }
    }
    return flushed
  }

  /// Takes a record, and home's slot for the FLUSH; sees to it that home's part will find one too.
  mutating func reserve(
    _ operation: Operation, _ volumes: UInt64, _ flushed: UInt64
  ) -> UInt32? {
    let needed = Int(volumes & 1) + Int(flushed & 1)
    guard freeRecord != BioRecord.none, queue.freeCount >= needed else { return nil }
    let index = freeRecord
    freeRecord = records[index].next
    inFlight += 1
    records[index].volumes = operation == .flush ? volumes : flushed
    records[index].isDurable = flushed != 0
    records[index].isFlushing = operation == .flush
    records[index].doneBytes = 0
    records[index].reserved = flushed & 1 == 1 ? queue.reserveFlush() : BioRecord.none
    shared[index].clearError()
    shared[index].beginStage()
    return index
  }

  mutating func addParts(_ index: UInt32, _ operation: Operation, _ range: Range<UInt64>) {
    let source = records[index].source
    // What is not asked to do anything has done nothing.
    for member in 0..<table.memberCount { table.part(index, member).value.doneBytes = 0 }
    var own: Place<SpreadPart>?
    layout.split(range) { _, share in
      let part = table.part(index, share.member)
      part.value.operation = operation
      part.value.source = source
      part.value.place = source.advance(SourcePlace(), by: Int(share.sourceOffset))
      part.value.start = share.start
      part.value.byteCount = share.byteCount
      shared[index].takeReference()
      if share.member == 0 { own = part } else { push(part, to: share.member) }
    }
    if let own { start(own) }
  }

  /// Home's own part: its slot was seen to.
  private mutating func start(_ part: Place<SpreadPart>) {
    let isStarted = queue.startPart(part)
    precondition(isStarted, "home's part has a slot")
  }

  /// Gives a part to the thread that owns the member's queue. A closed one ends it here: not the
  /// last drop, for the submitter's reference is held.
  private func push(_ part: Place<SpreadPart>, to member: Int) {
    let other = others[member - 1]
    if other.parts.push(part) {
      other.waker.wake()
    } else {
      part.end(byteCount: 0, code: VBlkError.Code.closed.rawValue)
    }
  }

  /// Drops the submitter's reference of a stage.
  ///
  /// - Returns: The result, where that was the last and the dio is over.
  mutating func dropOwn(_ index: UInt32) -> IOResult? {
    guard shared[index].drop(), endStage(index) else { return nil }
    // Memory that a device may still write to is not given back: its Completion says so.
    guard !isQuarantined else {
      appendDone(index)
      return nil
    }
    inFlight -= 1
    return release(index)
  }

  // MARK: - Stages

  /// Ends the stage of a dio whose count is 0, and which is ours alone:
  /// (a) data done without error, durable → the FLUSH stage begins, with a count of its own;
  /// (b) else the dio is over.
  ///
  /// - Returns: Whether it is over.
  private mutating func endStage(_ index: UInt32) -> Bool {
    if !records[index].isFlushing {
      records[index].doneBytes = (0..<table.memberCount).reduce(0) {
        $0 + table.part(index, $1).value.doneBytes
      }
    }
    guard records[index].isDurable, !records[index].isFlushing, shared[index].code == 0 else {
      return true
    }
    records[index].isFlushing = true
    shared[index].beginStage()
    addFlushes(index)
    return shared[index].drop()
  }

  /// One FLUSH a device, by its first member; here, in the slot that was kept for it.
  private mutating func addFlushes(_ index: UInt32) {
    for (number, volume) in layout.volumes.enumerated()
    where records[index].volumes >> UInt64(number) & 1 == 1 {
      let member = volume.members.lowerBound
      let part = table.part(index, member)
      part.value.operation = .flush
      part.value.source = .none
      part.value.place = SourcePlace()
      part.value.start = 0
      part.value.byteCount = 0
      shared[index].takeReference()
      if member > 0 {
        push(part, to: member)
      } else if records[index].reserved != BioRecord.none {
        let reserved = records[index].reserved
        records[index].reserved = BioRecord.none
        queue.startReserved(reserved, part)
      } else {
        start(part)
      }
    }
  }

  /// Gives a dio's record back.
  private mutating func release(_ index: UInt32) -> IOResult {
    if records[index].reserved != BioRecord.none {
      queue.releaseReserved(records[index].reserved)
      records[index].reserved = BioRecord.none
    }
    let result = IOResult(
      byteCount: Int(records[index].doneBytes), code: VBlkError.Code(rawValue: shared[index].code))
    records[index].source = .none
    records[index].next = freeRecord
    freeRecord = index
    return result
  }

  // MARK: - Delivery

  /// One finished dio, or nil where there is none; never blocks.
  mutating func next() -> Completion? {
    if doneFirst == BioRecord.none { attend() }
    return takeDone()
  }

  /// Reaps home's queue, and takes what the other threads have finished.
  mutating func attend() {
    queue.reapAll()
    takeInbox()
    queue.kick()
  }

  mutating func takeInbox() {
    var left = table.inbox.takeAll()
    while let entry = left {
      left = entry.value.link
      entry.value.link = nil
      let index = entry.value.index
      if endStage(index) { appendDone(index) }
    }
  }

  private mutating func appendDone(_ index: UInt32) {
    records[index].next = BioRecord.none
    if doneFirst == BioRecord.none {
      doneFirst = index
    } else {
      records[doneLast].next = index
    }
    doneLast = index
  }

  /// The dio that ended first. It has waited in its own record, and held the record's credit.
  mutating func takeDone() -> Completion? {
    guard doneFirst != BioRecord.none else { return nil }
    let index = doneFirst
    doneFirst = records[index].next
    inFlight -= 1
    let source = records[index].source
    let tag = records[index].tag
    return Completion(tag: tag, result: release(index), source, isKept: isQuarantined)
  }

  private var isQuarantined: Bool { layout.volumes.contains { $0.device.isQuarantined } }

  // MARK: - Close

  /// Accepts nothing more, and waits for what is in flight: until the deadline, then the devices
  /// are reset, and each member ends what it has at its next look. A member that doesn't look for
  /// as long again keeps its part, and with it the records and the memory, for ever. Completions
  /// can still be taken.
  mutating func close() {
    guard !isClosed else { return }
    isClosed = true
    let deadline = queue.device.deadlineNanoseconds
    let start = queue.device.now()
    var isOverdue = false
    while unfinished > 0 {
      attend()
      chio_yield()
      let passed = queue.device.now() - start
      if passed > deadline, !isOverdue {
        isOverdue = true
        for volume in layout.volumes {
          volume.device.stop(.timedOut, because: "a group had work in flight when it was closed")
        }
      }
      if passed > 2 * deadline {
        keepForEver(table)
        break
      }
    }
    queue.close()
  }

  private var unfinished: Int {
    var done = 0
    var index = doneFirst
    while index != BioRecord.none {
      done += 1
      index = records[index].next
    }
    return inFlight - done
  }

  /// Ends the home: what is in flight first; what is done and not taken is dropped.
  mutating func retire() {
    close()
    while takeDone() != nil {}
  }
}
