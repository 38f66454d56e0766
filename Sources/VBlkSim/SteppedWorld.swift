import VBlkDriver

/// A world whose steps are taken in one thread, in any order: what the runs of all have in common.
protocol SteppedWorld: World {
  /// A step that can be taken.
  associatedtype Event: Equatable

  var scenario: Scenario { get }
  var schedule: Schedule { get set }
  var ledger: QueueLedger { get set }
  var device: DeviceSide { get set }
  /// Whether ``settle()`` was called.
  var isSettling: Bool { get }
  /// Steps that a run may have: more is a livelock.
  var budget: Int { get }
  /// No thread stands in the midst of a step: the state can be looked at.
  var isBetweenSteps: Bool { get }

  /// Begins a run, from rest.
  func begin() throws
  /// The steps that can be taken, in a fixed order; none at the end.
  func possible() -> [Event]
  /// Whose step it is.
  func actor(_ event: Event) -> Int
  func take(_ event: Event) throws
  /// What must hold between two steps.
  func check()
  /// What must hold at the end.
  func finish()
  /// From here on nothing new is submitted, nothing is reset, and nothing is chosen.
  func settle()
  /// Adds what the world's further behaviour depends on.
  func fingerprint(_ add: (UInt64) -> Void)
}

extension SteppedWorld {
  /// Runs one schedule: see ``World``.
  public func run(_ schedule: inout Schedule, isKnown: (UInt64) -> Bool) throws -> RunEnd {
    self.schedule = schedule
    self.schedule.rewind()
    defer { schedule = self.schedule }
    try begin()
    var steps = 0
    var isStopped = false
    while ledger.problem == nil {
      let events = possible()
      if events.isEmpty { break }
      let choice =
        isStopped ? 0 : self.schedule.choose(events.count) { actor(events[$0]) }
      try take(events[choice])
      steps += 1
      if steps > budget { ledger.fail("no end after \(steps) steps: \(events) again and again") }
      guard isBetweenSteps else { continue }
      check()
      if !isStopped, ledger.problem == nil, self.schedule.isBeyondPrefix, isKnown(hashed()) {
        isStopped = true
        settle()
      }
    }
    if ledger.problem == nil { finish() }
    if self.schedule.isForeign { ledger.fail("the schedule is another scenario's") }
    if let problem = ledger.problem { return .violation(problem) }
    return isStopped ? .known : .ended
  }

  /// The device of a line takes what it was told of. How each bio will end is a choice of the
  /// schedule.
  ///
  /// - Parameters:
  ///   - line: Which.
  ///   - operation: Whose the request in a slot is.
  /// - Returns: What was taken.
  /// - Throws: What the emulator throws where the world itself is wrong.
  @discardableResult
  func fetch(
    _ line: Int, operation: (InFlightTags, UInt16) -> Int?
  ) throws -> ArraySlice<DeviceSide.Request> {
    let known = device.requests.count
    let problem = try device.fetch(
      line,
      status: {
        scenario.statuses > 1 && !isSettling ? UInt8(schedule.choose(scenario.statuses)) : 0
      },
      operation: operation)
    if let problem { ledger.fail(problem) }
    return device.requests[known...]
  }

  private func hashed() -> UInt64 {
    var print = Fingerprint()
    fingerprint { print.add($0) }
    return print.value
  }
}

extension QueueLedger {
  /// Adds what the ledger has seen.
  func fingerprint(_ add: (UInt64) -> Void) {
    for entry in entries {
      var flags: UInt64 = entry.isSubmitted ? 1 : 0
      if entry.wasReset { flags |= 2 }
      if entry.mayBeRefused { flags |= 4 }
      add(UInt64(entry.ended) << 8 | flags)
      for status in entry.statuses { add(UInt64(status) + 1) }
      for status in entry.sweptErrors { add(UInt64(status) << 8) }
    }
  }
}
