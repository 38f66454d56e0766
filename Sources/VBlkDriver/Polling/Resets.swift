import Synchronization

/// What a queue does when its device is reset, and how a violation asks for that (rule 10).
///
/// The device stops first (status reads 0), then the epoch moves, then each owner sweeps its queue
/// at its next call by the ordinary drop; the last to sweep restarts the device.
extension Queue {
  /// Breaks the queue: the device did something that it must not. It is reset, and everything in
  /// flight ends with `protocolViolation`.
  mutating func violate(_ reason: Violation.Reason, _ value: UInt64, bound: UInt64) {
    counters.violations &+= 1
    let violation = Violation(reason: reason, value: value, bound: bound)
    state.lastViolation = violation
    usedSeen = lastUsed
    device.stop(.protocolViolation, because: "queue \(index): \(violation)")
    followReset()
  }

  /// The epoch has moved: the device was stopped. Ends everything in flight once, then waits for
  /// the restart.
  mutating func followReset() {
    let current = device.epochWord.load(ordering: .acquiring)
    // Suspended, everything stays as it is: the epoch comes back.
    guard current != epoch, current & Device.suspendedBit == 0 else { return }
    epoch = current
    counters.resets &+= 1
    if !state.isStopped {
      state.isStopped = true
      freeCount -= Limits.closedOffset
    }
    sweep(code: device.stopCode)
    restartPositions()
    device.swept(index: index, epoch: current)
    resumeIfRestarted()
  }

  /// Ends each bio by the ordinary drop. Cursors are emptied first, so that nothing is refilled.
  mutating func sweep(code: VBlkError.Code) {
    availShadow = availPublished
    usedSeen = lastUsed
    markLate(code)
    for index in dios.indices where dios[index].isActive {
      // Held until the sweep is over, so that no drop on the way finishes the dio.
      dios[index].count.wrappingAdd(1, ordering: .relaxed)
      if dios[index].code == 0 { dios[index].code = endCode(code, isLate: false).rawValue }
      if dios[index].remaining > 0 {
        emptyCursor(index)
      } else if dios[index].isStalled {
        // Waits for a slot for its FLUSH, which is its only reference.
        unstall(index)
        dropDio(index)
      } else {
        releaseReservedSlot(index)
      }
    }
    for head in 0..<headLimit where records[head].isOwned {
      let isLate = isOverdue(records[head].stamp, device.deadlineNanoseconds)
      endBio(head, code: endCode(code, isLate: isLate))
    }
    for index in dios.indices where dios[index].isActive {
      dropDio(index)
    }
  }

  /// Dios that missed their deadline, by a bio in flight or by waiting too long.
  private mutating func markLate(_ code: VBlkError.Code) {
    guard code == .timedOut else { return }
    let deadline = device.deadlineNanoseconds
    for head in 0..<headLimit where records[head].isPart {
      let owner = records[head].owner
      if dios[owner].code == 0, isOverdue(records[head].stamp, deadline) {
        dios[owner].code = code.rawValue
      }
    }
    for place in 0..<state.stalledCount {
      let index = memory.stalled[place]
      if dios[index].code == 0, isOverdue(dios[index].stamp, deadline) {
        dios[index].code = code.rawValue
      }
    }
  }

  /// A deadline ends the late operation with `timedOut`, the others with `reset`.
  private mutating func endCode(_ code: VBlkError.Code, isLate: Bool) -> VBlkError.Code {
    code == .timedOut && !isLate ? .reset : code
  }

  /// Whether an operation of the given tick has missed its deadline.
  mutating func isOverdue(_ stamp: UInt32, _ deadlineNanoseconds: UInt64) -> Bool {
    UInt64(tick &- stamp) * Limits.tickNanoseconds >= deadlineNanoseconds
  }

  /// Takes the queue up again where the device runs again with it.
  mutating func resumeIfRestarted() {
    guard state.isStopped, !state.isClosed,
      memory.enabledEpoch.load(ordering: .acquiring) == epoch,
      device.epochWord.load(ordering: .acquiring) == epoch
    else { return }
    state.isStopped = false
    freeCount += Limits.closedOffset
    capacity = device.capacityBytes
    if let current = memory.doorbell { doorbell = current }
    suppressInterrupts()
    updateFastPath()
  }

  /// Nothing is in flight any more, and the ring is given to the device anew before it is used;
  /// also that of a queue that was closed meanwhile.
  mutating func restartPositions() {
    availShadow = 0
    availPublished = 0
    lastUsed = 0
    usedSeen = 0
    packed.restart()
    order.end = 0
    order.place = 0
  }

  /// Asks the device for no interrupts.
  func suppressInterrupts() {
    if isPacked {
      packed.suppressInterrupts()
    } else {
      ring.suppressInterrupts(lastUsed: lastUsed, eventIndex: eventIndex)
    }
  }

  /// Why a stopped queue refuses, or nil where it has just been taken up again.
  mutating func refusalWhileStopped() -> VBlkError.Code? {
    followReset()
    resumeIfRestarted()
    guard state.isStopped else { return nil }
    return state.isClosed ? .closed : device.refusalCode
  }

  // MARK: - Close

  /// Ends the queue: no more submissions; what is in flight ends by completion until the deadline,
  /// then by a reset. Kept completions are dropped, their buffers go back to their arenas.
  mutating func retire() {
    state.isRetired = true
    close()
    while state.keptCount > 0 { _ = takeKept() }
    memory.saved = QueueMemory.SavedIndexes(
      avail: availPublished, used: lastUsed, packed: packed.position, place: order.place)
    device.takeBack(index: index, isClean: lastUsed == availPublished && epochIsCurrent)
  }

  private var epochIsCurrent: Bool {
    device.epochWord.load(ordering: .acquiring) == epoch
      && memory.enabledEpoch.load(ordering: .acquiring) == epoch
  }

  /// Accepts nothing more, and ends what is in flight: each operation once, by its completion until
  /// the deadline, then by a reset of the device. The completions can still be taken by ``next()``.
  public mutating func close() {
    guard !state.isClosed else { return }
    drain()
    state.isClosed = true
    if !state.isStopped {
      state.isStopped = true
      freeCount -= Limits.closedOffset
    }
  }

  /// Kicks and polls until nothing is in flight; completions wait to be taken by ``next()``.
  /// Bounded by the deadline, after which the device is reset.
  public mutating func drain() {
    let start = device.now()
    var overdue = false
    while inFlight > 0 {
      kick()
      if lookForWork() { reapOne() }
      guard device.now() - start > device.deadlineNanoseconds, !overdue else { continue }
      overdue = true
      resetLate(because: "work was in flight when it was closed")
    }
  }

  /// Operations accepted and not ended, however they wait.
  public var inFlight: Int {
    let stopped = state.isStopped ? Limits.closedOffset : 0
    return depth - (freeCount + stopped + state.keptCount + state.reservedCount)
  }
}
