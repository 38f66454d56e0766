import Synchronization

/// A queue's share in spread dios. A part is an ordinary dio whose finish is "record the error in
/// the parent, drop the parent"; it has a slot of this queue, but no Completion.
extension Queue {
  /// Begins a part that was pushed to this queue's thread.
  ///
  /// - Returns: False where no slot is free: try again after the next reap.
  mutating func startPart(_ part: Place<SpreadPart>) -> Bool {
    if let code = refusalOfPart() {
      part.end(byteCount: 0, code: code.rawValue)
      return true
    }
    guard freeCount > 0, hasSlot else {
      counters.ringFullStalls &+= 1
      return false
    }
    let index = prepareDio(
      part.value.operation, at: part.value.start, part.value.byteCount, part.value.source, tag: 0)
    dios[index].place = part.value.place
    dios[index].part = part
    begin(index)
    return true
  }

  /// Why a part can't be begun; it was accepted at home, so that it ends with an error.
  private mutating func refusalOfPart() -> VBlkError.Code? {
    guard state.isStopped || device.epochWord.load(ordering: .acquiring) != epoch,
      let code = refusalWhileStopped()
    else { return nil }
    return code == .resetting ? .reset : code
  }

  /// The last drop of a part's dio.
  mutating func finishPart(_ index: UInt32, _ part: Place<SpreadPart>) {
    let code = dios[index].code
    let byteCount = code == 0 ? dios[index].byteCount : 0
    freeDio(index)
    part.end(byteCount: byteCount, code: code)
  }

  // MARK: - The slot of a FLUSH

  /// Keeps a slot, and a dio, for the FLUSH of a durable spread dio; one must be free.
  mutating func reserveFlush() -> UInt32 {
    let index = prepareDio(.flush, at: 0, 0, .none, tag: 0)
    holdSlot(for: index)
    state.reservedCount += 1
    return index
  }

  /// Gives the reserved slot to the FLUSH of `part`. A reset since the reservation has left its
  /// error in the dio: what was written before may be lost, so nothing is sent.
  mutating func startReserved(_ index: UInt32, _ part: Place<SpreadPart>) {
    let code = state.isClosed ? VBlkError.Code.closed.rawValue : dios[index].code
    guard code == 0 else {
      releaseReserved(index)
      return part.end(byteCount: 0, code: code)
    }
    state.reservedCount -= 1
    dios[index].part = part
    dios[index].stamp = tick
    begin(index)
  }

  mutating func releaseReserved(_ index: UInt32) {
    releaseReservedSlot(index)
    freeDio(index)
  }

  /// Gives back the slot of a FLUSH that will not be; a reset does so too, for its ring begins
  /// anew.
  mutating func releaseReservedSlot(_ index: UInt32) {
    guard dios[index].heldSlot != BioRecord.none else { return }
    state.reservedCount -= 1
    releaseHeldSlot(index)
  }

  // MARK: - Reaping for others

  /// Reaps all that is there, as ``next()`` does, and delivers nothing: Completions are kept. What
  /// is pending is kicked.
  mutating func reapAll() {
    counters.polls &+= 1
    if device.epochWord.load(ordering: .acquiring) != epoch {
      followReset()
    } else if state.isStopped {
      resumeIfRestarted()
    }
    if counters.polls & (Limits.pollsPerTick - 1) == 0 || state.isStopped { slowTick() }
    if state.stalledCount > 0 { retryStalled() }
    var wasEmpty = true
    while !state.isStopped, lastUsed != usedSeen || lookAgain() {
      wasEmpty = false
      while lastUsed != usedSeen { reapOne() }
    }
    if wasEmpty { counters.emptyPolls &+= 1 }
    kick()
  }
}
