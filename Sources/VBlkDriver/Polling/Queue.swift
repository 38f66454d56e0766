public import CHostIO
public import DMAPool
public import Synchronization
import Virtio

/// A queue of a device: submit, kick, poll. It belongs to one thread at a time and can be moved to
/// another; a second poller does not compile.
///
/// Nothing here allocates, throws, logs, locks or blocks, except the synchronous calls, which poll
/// until they are done. Offsets and counts are in bytes. After a ``Submission/queued`` the buffer
/// comes back with exactly one ``Completion``.
public struct Queue: ~Copyable {
  // Set once, but the ring's size by a reset of the queue too. The ring's format is chosen by
  // `isPacked`: `ring` is in use, or `packed`.
  // A pointer comes first: with a Bool there the compiler fails under the thread sanitizer.
  @usableFromInline var ring: SplitRing
  @usableFromInline let isPacked: Bool
  @usableFromInline let isIndirect: Bool
  /// Descriptors stand at the ring's next places: packed, or in order (``QueueLayout``).
  @usableFromInline let isPositional: Bool
  @usableFromInline let isInOrder: Bool
  @usableFromInline let records: Table<BioRecord>
  @usableFromInline let requests: RequestAreas
  @usableFromInline let device: Device
  @usableFromInline let arena: UInt32
  @usableFromInline var headLimit: UInt32
  @usableFromInline let eventIndex: Bool
  /// The device is ordered as the platform's devices are, not as its processors (ORDER_PLATFORM,
  /// virtio 1.2, 6). Acquires and releases hold for whoever shares the memory; fences K and N are
  /// chosen by it.
  @usableFromInline let isPlatformOrdered: Bool
  @usableFromInline let blockMask: UInt64
  let memory: QueueMemory
  /// The records of operations that are more than one plain bio.
  let dios: Table<DioRecord>
  let limits: QueueLimits

  // The fast path's gate: what one plain bio may be. `maxPlainBytes` is 0 while every submission
  // must take the slow path (a read-modify-write or a stalled dio is about).
  @usableFromInline var maxReadBytes: UInt64
  @usableFromInline var maxWriteBytes: UInt64
  @usableFromInline var capacity: UInt64

  // Slots: free ones less kept completions; far below 0 while the queue refuses.
  @usableFromInline var freeHead: UInt32
  @usableFromInline var freeCount: Int

  // Ring positions (I3), which count requests. `usedSeen` is how far the device may be: where it
  // said it is; or all that was published, for a packed ring says only whether the next is used.
  @usableFromInline var packed: PackedRing
  @usableFromInline var availShadow: UInt16
  @usableFromInline var availPublished: UInt16
  @usableFromInline var lastUsed: UInt16
  @usableFromInline var usedSeen: UInt16

  // Time and resets. A restart may move the doorbell.
  @usableFromInline var doorbell: Doorbell
  @usableFromInline var tick: UInt32 = 0
  @usableFromInline var epoch: UInt32
  /// Kept completions and stalled dios: what an empty look has to care for; and one more where all
  /// looks are to be passed on, for IN_ORDER.
  @usableFromInline var pendingWork: Int
  /// The device was seen with work in flight and nothing done: it works beside us, on lines that
  /// travel, and not inside the kick.
  @usableFromInline var worksAside = false
  @usableFromInline var counters = QueueStatistics()

  // The slow path's own.
  var order: RequestOrder
  var state = QueueState()

  /// A queue of the device as it is in `epoch`; where it stands still, the queue does too.
  init(memory: QueueMemory, device: Device, doorbell: Doorbell, epoch: UInt32) {
    let isRunning = memory.enabledEpoch.load(ordering: .acquiring) == epoch
    self.memory = memory
    dios = memory.dios
    self.device = device
    self.doorbell = doorbell
    isPacked = memory.layout.isPacked
    isIndirect = memory.layout.isIndirect
    isPositional = memory.layout.isPositional
    isInOrder = memory.layout.isInOrder
    pendingWork = isInOrder ? 1 : 0
    order = memory.order
    ring = memory.ring
    packed = memory.packed
    records = memory.records
    requests = memory.requests
    self.epoch = epoch
    arena = device.memory.number
    headLimit = UInt32(memory.layout.headLimit)
    eventIndex = device.info.accepted.contains(.eventIndex)
    isPlatformOrdered = device.info.accepted.contains(.orderPlatform)
    limits = device.info.limits
    blockMask = UInt64(limits.logicalBlockSize - 1)
    capacity = device.capacityBytes
    maxReadBytes = 0
    maxWriteBytes = 0
    freeHead = BioRecord.none
    freeCount = 0
    let saved = isRunning ? memory.saved : QueueMemory.SavedIndexes()
    availShadow = saved.avail
    availPublished = saved.avail
    lastUsed = saved.used
    usedSeen = saved.used
    packed.resume(at: saved.packed)
    order.end = saved.used
    order.place = saved.place
    state.freeDio = 0
    // A queue before this one may have freed them in any order.
    for index in dios.indices {
      dios[index].next = index + 1 < dios.indices.upperBound ? index + 1 : BioRecord.none
    }
    for slot in (0..<memory.layout.slotCount).reversed() {
      let head = UInt32(slot * memory.layout.headStride)
      records[head].next = freeHead
      freeHead = head
    }
    freeCount = memory.layout.slotCount
    updateFastPath()
    if isRunning {
      suppressInterrupts()
    } else {
      state.isStopped = true
      freeCount -= Limits.closedOffset
    }
  }

  /// A copy of a queue that is going away, which can be changed where a deinit can't.
  private init(retiring other: borrowing Queue) {
    isPacked = other.isPacked
    isIndirect = other.isIndirect
    isPositional = other.isPositional
    isInOrder = other.isInOrder
    order = other.order
    ring = other.ring
    packed = other.packed
    records = other.records
    requests = other.requests
    doorbell = other.doorbell
    arena = other.arena
    headLimit = other.headLimit
    eventIndex = other.eventIndex
    isPlatformOrdered = other.isPlatformOrdered
    blockMask = other.blockMask
    memory = other.memory
    dios = other.dios
    device = other.device
    limits = other.limits
    maxReadBytes = other.maxReadBytes
    maxWriteBytes = other.maxWriteBytes
    capacity = other.capacity
    freeHead = other.freeHead
    freeCount = other.freeCount
    availShadow = other.availShadow
    availPublished = other.availPublished
    lastUsed = other.lastUsed
    usedSeen = other.usedSeen
    tick = other.tick
    epoch = other.epoch
    pendingWork = other.pendingWork
    worksAside = other.worksAside
    counters = other.counters
    state = other.state
  }

  deinit {
    guard !state.isRetired else { return }
    var last = Queue(retiring: self)
    last.retire()
  }

  /// What the queue has counted since it was made.
  public var statistics: QueueStatistics { counters }

  /// Requests that can be in flight.
  public var depth: Int { memory.layout.slotCount }

  /// Which of the device's queues it is.
  public var index: Int { memory.index }
}

/// What the slow path of a queue keeps.
struct QueueState {
  /// First free dio record.
  var freeDio: UInt32 = BioRecord.none
  /// Kept completions: a ring of `dioCount` places.
  var keptFirst = 0
  var keptCount = 0
  /// Dios that wait, in order of submission, and all dios that hold block locks.
  var stalledCount = 0
  var lockHolders = 0
  /// Slots kept for the FLUSHes of spread dios, which are no operations yet.
  var reservedCount = 0
  /// The queue has swept its bios and waits for the device to restart.
  var isStopped = false
  var isClosed = false
  var isRetired = false
  /// An interrupt was asked for.
  var isArmed = false
  /// How long an adaptive wait polls before it sleeps.
  var spinNanoseconds = Limits.shortestSpinNanoseconds
  /// The last refusal of a submission, for the rich error.
  var refusal = Refusal()
  var lastViolation: Violation?
  /// The last status that the device made up.
  var lastUnknownStatus: UInt8 = 0
  /// Where the last append went whose completion was handed out.
  var lastAppend = UInt64.max
  /// The clock at the last tick, and progress seen then.
  var tickNanoseconds: UInt64 = 0
  var idleTicks = 0
  var lastUsedAtTick: UInt16 = 0
}

/// What was asked when a submission was refused.
struct Refusal {
  var operation = Operation.read
  var offset: UInt64 = 0
  var byteCount: UInt64 = 0
}

/// A finished operation that waits to be delivered.
struct KeptCompletion {
  var tag: UInt64
  var result: IOResult
  var source: DioSource
  /// Where an append's data went.
  var appendedAt = UInt64.max
}

// MARK: - Submit

extension Queue {
  /// Reads `buffer.byteCount` bytes from byte `offset` of the device into `buffer`.
  ///
  /// A read that crosses the end of the device is cut there; one at or beyond the end completes
  /// with 0 bytes. Ranges that are not whole blocks go through a bounce block.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - buffer: Where the data goes; it comes back in the submission or with the completion.
  ///   - tag: Any number; the completion carries it.
  /// - Returns: Whether the operation is under way, already ended, or refused with nothing done.
  @inlinable @inline(__always)
  public mutating func submitRead(
    at offset: UInt64, into buffer: consuming DMABuffer, tag: UInt64
  ) -> Submission<DMABuffer> {
    let block = buffer.intoReference()
    let count = UInt64(truncatingIfNeeded: block.byteCount)
    guard isPlain(offset, count, block, maxReadBytes) else {
      return submitSlow(.read, at: offset, block, tag: tag, durable: false)
    }
    addPlain(.read, at: offset, block, count, tag: tag)
    return .queued
  }

  /// Writes the bytes of `buffer` to byte `offset` of the device.
  ///
  /// A write that reaches beyond the end is refused with `noSpace`, nothing written. Ranges that
  /// are not whole blocks are read, modified and written under a lock on their blocks; nothing else
  /// in those blocks changes.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - buffer: The data; it comes back in the submission or with the completion.
  ///   - tag: Any number; the completion carries it.
  ///   - durable: Whether the operation ends only when the data is on stable media (a FLUSH follows
  ///     where the device has a volatile cache).
  /// - Returns: Whether the operation is under way, already ended, or refused with nothing done.
  @inlinable @inline(__always)
  public mutating func submitWrite(
    at offset: UInt64, from buffer: consuming DMABuffer, tag: UInt64, durable: Bool = false
  ) -> Submission<DMABuffer> {
    let block = buffer.intoReference()
    let count = UInt64(truncatingIfNeeded: block.byteCount)
    guard !durable, isPlain(offset, count, block, maxWriteBytes) else {
      return submitSlow(.write, at: offset, block, tag: tag, durable: durable)
    }
    addPlain(.write, at: offset, block, count, tag: tag)
    return .queued
  }

  // MARK: - Kick

  /// Shows the device everything submitted since the last kick, and rings its doorbell if it wants
  /// to be told; at most once. Nothing happens if there is nothing to show.
  @inlinable @inline(__always)
  public mutating func kick() {
    let old = availPublished
    guard _fastPath(availShadow != old) else { return }
    guard _fastPath(device.epochWord.load(ordering: .relaxed) == epoch) else { return }
    counters.requests &+= UInt64(availShadow &- old)
    availPublished = availShadow
    let isWanted = isPacked ? publishPacked() : publishSplit(from: old)
    if isWanted {
      counters.kicks &+= 1
      ringDoorbell()
    } else {
      counters.suppressedKicks &+= 1
    }
  }

  @inlinable @inline(__always)
  mutating func publishPacked() -> Bool {
    packed.publish()
    fenceFull()  // fence K
    let isWanted = packed.wantsKick(eventIndex: eventIndex)
    packed.beginBatch()
    return isWanted
  }

  @inlinable @inline(__always)
  mutating func publishSplit(from old: UInt16) -> Bool {
    ring.publish(availShadow)
    fenceFull()  // fence K
    return ring.wantsKick(from: old, to: availShadow, eventIndex: eventIndex)
  }

  // Mutating, as is all on the way of a kick: a queue that is only borrowed is copied for the call.
  @inlinable @inline(__always)
  mutating func ringDoorbell() {
    if _slowPath(doorbell.isWide) { ringWide() } else { doorbell.ring() }
  }

  @inline(never)
  @usableFromInline
  mutating func ringWide() {
    doorbell.ring(next: isPacked ? packed.nextUnavailable : availPublished)
  }

  /// Stores before it are seen before loads after it are done, by the device too.
  @inlinable @inline(__always)
  mutating func fenceFull() {
    if _slowPath(isPlatformOrdered) {
      chio_fence_device()
    } else {
      atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
  }

  // MARK: - Poll

  /// One finished operation, or nil where there is none; never blocks. It may be resubmitted to
  /// this queue at once. A call that finds nothing first kicks what is pending.
  @inlinable @inline(__always)
  public mutating func next() -> Completion? {
    if lastUsed == usedSeen {
      let found = look()
      guard _fastPath(found == .some) else { return found == .none ? nil : attend() }
    }
    // Both of 32 bits, and wide already: where the two formats meet again, the compiler can't see
    // that the upper halves are 0.
    let id: Int
    let length: UInt64
    if _slowPath(isPacked) {
      let word = packed.nextWord
      guard _fastPath(packed.isUsed(word)) else { return nextSlow() }
      let element = PackedRing.usedElement(word)
      id = Int(truncatingIfNeeded: element.id)
      length = UInt64(element.length)
      packed.stepPlain()
    } else {
      let element = ring.usedElement(at: lastUsed)
      id = Int(truncatingIfNeeded: element.id)
      length = UInt64(element.length)
    }
    let head = UInt32(truncatingIfNeeded: id)
    guard _fastPath(head < headLimit) else { return nextUnreaped() }
    let status = requests[id].status
    guard _fastPath(length == records[id].expected), _fastPath(status == 0) else {
      return nextUnreaped()
    }
    lastUsed &+= 1
    records[id].expected = BioRecord.never
    records[id].next = freeHead
    freeHead = head
    freeCount &+= 1
    let count = Int(records[id].byteCount)
    counters.bytes &+= UInt64(count)
    guard
      _fastPath(
        records[id].count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0)
    else { return nextSlow() }
    return Completion(
      tag: records[id].tag, result: IOResult(success: count),
      buffer: DMABuffer(records[id].plainBlock), segments: nil)
  }

  /// What a look at the device found: nothing, some used requests, or something else to care for.
  @usableFromInline
  enum Found { case none, some, other }

  /// Looks how far the device is, where all that was seen is reaped.
  @inlinable @inline(__always)
  mutating func look() -> Found {
    counters.polls &+= 1
    let seen = usedIndex()
    guard
      _fastPath(counters.polls & (Limits.pollsPerTick &- 1) != 0),
      _fastPath(pendingWork == 0),
      _fastPath(device.epochWord.load(ordering: .relaxed) == epoch)
    else { return .other }
    guard seen != lastUsed else {
      counters.emptyPolls &+= 1
      if availShadow != lastUsed { lookedInVain() }
      return .none
    }
    guard _fastPath(seen &- lastUsed <= availPublished &- lastUsed) else { return .other }
    usedSeen = seen
    if worksAside, seen &- lastUsed > 1 { prefetchSeen() }
    return .some
  }

  /// Nothing is used yet of what is in flight, or only added.
  @inline(never)
  @usableFromInline
  mutating func lookedInVain() {
    if availPublished != lastUsed { worksAside = true }
    if availShadow != availPublished { kick() }
  }

  /// How far the device is. A packed ring says only of the next request whether it is used; then
  /// all that is published may be, and if nothing is, one more than that.
  @inlinable @inline(__always)
  func usedIndex() -> UInt16 {
    guard _slowPath(isPacked) else { return ring.usedIndex() }
    let word = packed.nextWord
    if _fastPath(availPublished != lastUsed) {
      return packed.isUsed(word) ? availPublished : lastUsed
    }
    return packed.isUnasked(word) ? lastUsed &+ 1 : lastUsed
  }
}
