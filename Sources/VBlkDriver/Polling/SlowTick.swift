/// What needs a clock, looked at every so many polls (DESIGN §3, "Time").
extension Queue {
  /// Looks at the clock and, when a tick has passed, at deadlines, lost kicks, the device's health
  /// and its configuration.
  mutating func slowTick() {
    // An event that stands still asks for an interrupt once round the index: it moves along.
    if eventIndex, !state.isStopped {
      ring.suppressInterrupts(lastUsed: lastUsed, eventIndex: true)
    }
    let now = device.now()
    guard now &- state.tickNanoseconds >= Limits.tickNanoseconds else { return }
    let passed = (now &- state.tickNanoseconds) / Limits.tickNanoseconds
    tick &+= state.tickNanoseconds == 0 ? 1 : UInt32(truncatingIfNeeded: passed)
    state.tickNanoseconds = now
    if state.isStopped {
      device.leaveOutUnswept()
      return resumeIfRestarted()
    }
    if let failure = device.health() {
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
    if hasOverdueWork() {
      device.stop(.timedOut, because: "an operation of queue \(index) missed its deadline")
      followReset()
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
    doorbell.ring()
  }

  private func hasOverdueWork() -> Bool {
    let deadline = device.deadlineNanoseconds
    for head in 0..<headLimit where records[head].isOwned {
      if isOverdue(records[head].stamp, deadline) { return true }
    }
    return false
  }
}
