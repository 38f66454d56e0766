/// What needs a clock, looked at every so many polls (DESIGN §3, "Time").
extension Queue {
  /// Looks at the clock and, when a tick has passed, at deadlines, lost kicks, the device's health
  /// and its configuration.
  mutating func slowTick() {
    // An event that stands still asks for an interrupt once round the index: it moves along.
    if eventIndex, !isPacked, !state.isStopped, !state.isArmed { suppressInterrupts() }
    let now = device.now()
    guard now &- state.tickNanoseconds >= Limits.tickNanoseconds else { return }
    if device.isSuspended {
      // Deadlines stand still.
      state.tickNanoseconds = now
      return
    }
    advanceTick(to: now)
    if state.isStopped {
      device.leaveOutUnswept()
      return resumeIfRestarted()
    }
    if let failure = device.health(in: epoch) {
      device.stop(failure, because: "queue \(index) found the device in that state")
      return followReset()
    }
    if let bytes = device.refreshedCapacity(), bytes != capacity {
      capacity = bytes
      updateFastPath()
    }
    guard availPublished != lastUsed else {
      state.idleTicks = 0
      return
    }
    rekickIfIdle()
    if hasOverdueWork() { resetLate(because: "an operation missed its deadline") }
  }

  /// Moves the tick on. Where nobody has polled for a while, what was submitted since the last tick
  /// is dated a tick before now: it may just have been submitted, and must not look late; the tick
  /// before, so that it is dated only once.
  private mutating func advanceTick(to now: UInt64) {
    let passed = (now &- state.tickNanoseconds) / Limits.tickNanoseconds
    let previous = tick
    tick &+= state.tickNanoseconds == 0 ? 1 : UInt32(truncatingIfNeeded: passed)
    state.tickNanoseconds = now
    guard passed > 1 else { return }
    for head in records.indices where records[head].isOwned && records[head].stamp == previous {
      records[head].stamp = tick &- 1
    }
    for index in dios.indices where dios[index].isActive && dios[index].stamp == previous {
      dios[index].stamp = tick &- 1
    }
  }

  /// Rings again where nothing has moved for some ticks: a lost kick makes it slow, not dead.
  private mutating func rekickIfIdle() {
    if lastUsed != state.lastUsedAtTick {
      state.lastUsedAtTick = lastUsed
      state.idleTicks = 0
      return
    }
    state.idleTicks += 1
    guard state.idleTicks % Limits.ticksBeforeRekick == 0 else { return }
    counters.rekicks &+= 1
    ringDoorbell()
  }

  private mutating func hasOverdueWork() -> Bool {
    let deadline = device.deadlineNanoseconds
    for head in 0..<headLimit where records[head].isOwned {
      if isOverdue(records[head].stamp, deadline) { return true }
    }
    // A dio that waits may have no bio in flight.
    for place in 0..<state.stalledCount
    where isOverdue(dios[memory.stalled[place]].stamp, deadline) {
      return true
    }
    return false
  }
}
