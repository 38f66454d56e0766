import CHostIO
public import DMAPool
import Synchronization
import Virtio

/// Synchronous calls: reap until a slot is free, submit, kick, poll holding the submitter's
/// reference until the count is 1, drop (rule 5). Other operations' completions are kept for
/// ``Queue/next()``. Every wait is bounded by the deadline, which resets the device.
extension Queue {
  /// Reads into `buffer` from byte `offset` of the device and waits for it.
  ///
  /// - Returns: Bytes read: `buffer.byteCount`, or fewer at the device's end.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func read(at offset: UInt64, into buffer: inout DMABuffer) throws(VBlkError)
    -> Int
  {
    try wait(.read, at: offset, UInt64(buffer.byteCount), .buffer(buffer.reference))
  }

  /// Writes `buffer` to byte `offset` of the device and waits for it.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - buffer: The data.
  ///   - durable: Whether to wait until the data is on stable media.
  /// - Returns: Bytes written, all of them.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func write(
    at offset: UInt64, from buffer: borrowing DMABuffer, durable: Bool = false
  ) throws(VBlkError) -> Int {
    try wait(
      .write, at: offset, UInt64(buffer.byteCount), .buffer(buffer.reference), durable: durable)
  }

  /// Reads into the list's segments, in their order, and waits for it.
  ///
  /// - Returns: Bytes read.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func read(
    at offset: UInt64, into segments: inout SegmentList
  ) throws(VBlkError) -> Int {
    try wait(.read, at: offset, UInt64(segments.byteCount), .list(segments.storage))
  }

  /// Writes the list's segments, in their order, and waits for it.
  ///
  /// - Returns: Bytes written, all of them.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func write(
    at offset: UInt64, from segments: borrowing SegmentList, durable: Bool = false
  ) throws(VBlkError) -> Int {
    try wait(
      .write, at: offset, UInt64(segments.byteCount), .list(segments.storage), durable: durable)
  }

  /// Reads into any memory, through bounce blocks, and waits for it.
  ///
  /// - Returns: Bytes read.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func read(
    at offset: UInt64, into memory: UnsafeMutableRawBufferPointer
  ) throws(VBlkError) -> Int {
    guard let base = memory.baseAddress else { return 0 }
    return try wait(.read, at: offset, UInt64(memory.count), unsafe .memory(base))
  }

  /// Writes from any memory, through bounce blocks, and waits for it.
  ///
  /// - Returns: Bytes written, all of them.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func write(
    at offset: UInt64, from memory: UnsafeRawBufferPointer, durable: Bool = false
  ) throws(VBlkError) -> Int {
    guard let base = unsafe UnsafeMutableRawPointer(mutating: memory.baseAddress) else { return 0 }
    return try wait(
      .write, at: offset, UInt64(memory.count), unsafe .memory(base), durable: durable)
  }

  /// Makes every write that has completed durable; returns at once where the cache is
  /// write-through.
  public mutating func flush() throws(VBlkError) {
    try wait(.flush, at: 0, 0, .none)
  }

  /// Discards whole blocks; what they read as afterwards is undefined.
  public mutating func discard(at offset: UInt64, byteCount: UInt64) throws(VBlkError) {
    try wait(.discard, at: offset, byteCount, .none)
  }

  /// Makes whole blocks read as zeroes.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - byteCount: Bytes.
  ///   - mayUnmap: Whether the device may unmap the range to do it.
  /// - Throws: ``VBlkError`` with the values seen.
  public mutating func writeZeroes(
    at offset: UInt64, byteCount: UInt64, mayUnmap: Bool = false
  ) throws(VBlkError) {
    try wait(
      .writeZeroes, at: offset, byteCount, .none, rangeFlags: mayUnmap ? RangeSegment.unmap : 0)
  }

  /// The device's id string (its serial number), at most 20 bytes (virtio 1.2, 5.2.6.1).
  public mutating func identify() throws(VBlkError) -> String {
    let answer = try waitForAnswer(.identify, byteCount: RequestAnswer.idByteCount)
    let bytes = answer.prefix { $0 != 0 }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Erases whole units of the device's `secureErase.alignment` beyond recovery (virtio 1.2,
  /// 5.2.6).
  public mutating func secureErase(at offset: UInt64, byteCount: UInt64) throws(VBlkError) {
    try wait(.secureErase, at: offset, byteCount, .none)
  }

  /// How worn the device is (virtio 1.2, 5.2.6).
  ///
  /// - Throws: ``VBlkError`` `.unsupported` where the device doesn't say, `.protocolViolation`
  ///   where it says something reserved.
  public mutating func lifetime() throws(VBlkError) -> Lifetime {
    try Lifetime(waitForAnswer(.lifetime, byteCount: RequestAnswer.lifetimeByteCount), device.info)
  }

  // MARK: - The wait

  @discardableResult
  mutating func wait(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource,
    durable: Bool = false, rangeFlags: UInt32 = 0
  ) throws(VBlkError) -> Int {
    // Suspended, the epoch is another too; and after a reset the slow way goes on where this queue
    // was the last to sweep.
    if case .buffer(let block) = source, operation.isTransfer, !durable, rangeFlags == 0,
      device.epochWord.load(ordering: .relaxed) == epoch,
      isPlain(offset, count, block, operation == .read ? maxReadBytes : maxWriteBytes)
    {
      let result = waitPlain(operation, at: offset, block, count)
      guard let code = result.code else { return result.byteCount }
      state.refusal = Refusal(operation: operation, offset: offset, byteCount: count)
      throw error(for: code)
    }
    if device.isSuspended {
      state.refusal = Refusal(operation: operation, offset: offset, byteCount: count)
      throw error(for: .suspended)
    }
    switch check(operation, at: offset, count: count, source: source) {
    case .ended(let result): return result.byteCount
    case .refused(let code): throw error(for: code)
    case .accepted(let clamped):
      let index = try begin(operation, at: offset, clamped, source, durable, rangeFlags)
      let result = finishWaiting(index)
      guard let code = result.code else { return result.byteCount }
      state.refusal = Refusal(operation: operation, offset: offset, byteCount: count)
      throw error(for: code)
    }
  }

  /// One plain bio, waited for. The count is 2: the bio's and ours; while we hold ours nobody
  /// delivers a completion.
  private mutating func waitPlain(
    _ operation: Operation, at offset: UInt64, _ block: BlockReference,
    _ count: UInt64
  ) -> IOResult {
    let head = freeHead
    addPlain(operation, at: offset, block, count, tag: 0)
    records[head].count.store(2, ordering: .relaxed)
    records[head].code = 0
    kick()
    if lastUsed == usedSeen, look() == .some, reapAlone(head) {
      return IOResult(success: Int(count))
    }
    while records[head].count.load(ordering: .acquiring) > 1 {
      if lookForWork() { reapOne() }
    }
    records[head].count.store(0, ordering: .relaxed)
    kick()
    return IOResult(
      byteCount: Int(count), code: VBlkError.Code(rawValue: records[head].code))
  }

  /// Reaps a plain bio that is waited for, where it is the next used one and succeeded.
  @inline(__always)
  private mutating func reapAlone(_ head: UInt32) -> Bool {
    guard let (id, length) = usedElement(), id == head,
      UInt64(length) == records[head].expected, requests[head].status == 0
    else { return false }
    stepUsed(head)
    counters.bytes &+= UInt64(records[head].byteCount)
    records[head].count.store(0, ordering: .relaxed)
    freeSlot(head)
    return true
  }

  /// Starts a dio for a caller that waits, once there is a slot for it.
  private mutating func begin(
    _ operation: Operation, at offset: UInt64, _ count: UInt64, _ source: DioSource,
    _ durable: Bool, _ rangeFlags: UInt32
  ) throws(VBlkError) -> UInt32 {
    if !hasSlot { counters.ringFullStalls &+= 1 }
    while !hasSlot {
      kick()
      if lookForWork() { reapOne() }
      if state.isStopped, let code = refusalWhileStopped() { throw error(for: code) }
    }
    let index = prepareDio(operation, at: offset, count, source, tag: 0)
    dios[index].isSynchronous = true
    dios[index].isDurable = durable
    dios[index].cacheWord = device.cache.current
    dios[index].rangeFlags = rangeFlags
    begin(index)
    return index
  }

  /// Polls until only the caller's reference is left, drops it, and waits again if that began the
  /// FLUSH stage.
  private mutating func finishWaiting(_ index: UInt32) -> IOResult {
    repeat {
      kick()
      while dios[index].count.load(ordering: .acquiring) > 1 || isUnfinished(index) {
        if lookForWork() { reapOne() }
        if dios[index].remaining > 0, !dios[index].isStalled { advanceCursor(index) }
        kick()
      }
      dropDio(index)
    } while dios[index].count.load(ordering: .acquiring) > 0
    let result = self.result(of: index)
    if dios[index].appendedAt != .max { state.lastAppend = dios[index].appendedAt }
    freeDio(index)
    return result
  }

  /// Bytes left to issue, or a FLUSH that waits for a slot.
  private mutating func isUnfinished(_ index: UInt32) -> Bool {
    dios[index].remaining > 0 || dios[index].isStalled
  }

  /// An answer of fixed shape, which stands in the payload of its slot.
  private mutating func waitForAnswer(
    _ operation: Operation, byteCount: Int
  ) throws(VBlkError) -> [UInt8] {
    let count = UInt64(byteCount)
    if case .refused(let code) = check(operation, at: 0, count: count, source: .none) {
      throw error(for: code)
    }
    let index = try begin(operation, at: 0, count, .none, false, 0)
    // Found by its owner before the slot is reused.
    let head = (0..<headLimit).first {
      records[$0].isPart && records[$0].owner == index
    }
    let result = finishWaiting(index)
    if let code = result.code { throw error(for: code) }
    guard let head else { return [] }
    return requests[head].answer(byteCount: byteCount)
  }

  /// A look for a caller that waits: cares for resets, ticks and waiting dios as ``next()`` does,
  /// and says whether there is something to reap.
  mutating func lookForWork() -> Bool {
    guard lastUsed == usedSeen else { return true }
    counters.polls &+= 1
    if device.epochWord.load(ordering: .acquiring) != epoch { followReset() }
    if counters.polls & (Limits.pollsPerTick - 1) == 0 || state.isStopped { slowTick() }
    if state.stalledCount > 0 {
      retryStalled()
      kick()
    }
    guard !state.isStopped, lookAgain() else {
      counters.emptyPolls &+= 1
      // A device that is a thread may need this processor.
      if counters.polls & (Limits.pollsPerTick - 1) == 0 { chio_yield() } else { chio_pause() }
      return false
    }
    return true
  }
}
