import DMAPool
import VBlkDriver
import VBlkEmu
import Virtio

/// One queue, its owner, and a device in steps.
///
/// Oracles, after every step: each operation ends exactly once with the result of its bios'
/// statuses
/// (``QueueLedger``); nobody writes to a buffer that was given back, and the device reaches only
/// what
/// is mapped; one doorbell where there was something to show, none otherwise; a bounded number of
/// steps, and always a way on while something is in flight; free records are poisoned, and the
/// queue's books are right.
public final class QueueWorld: World {
  private let scenario: Scenario
  private let stage: Stage
  private var queue: Queue
  private let tags: InFlightTags
  /// A buffer for each request, while it isn't in flight.
  private var buffers: [BufferBox]

  // The run.
  private var schedule = Schedule()
  private var ledger = QueueLedger(byteCounts: [])
  private var requests: [DeviceRequest] = []
  /// Used and not reaped, in their order.
  private var unreaped: [DeviceRequest] = []
  private var submitted = 0
  private var resetsLeft = 0
  private var steps = 0
  /// A kick has found that the device was stopped.
  private var hasKickedInVain = false

  /// A request that the device has fetched.
  private struct DeviceRequest {
    let handle: RequestHandle
    let operation: Int
    let type: UInt32
    let sector: UInt64
    let status: UInt8
    var isAnswered = false
  }

  /// A step that can be taken.
  private enum Event: Equatable {
    case device(Int)
    case submit, kick, reap, next, reset
  }

  /// Makes the world of a scenario.
  ///
  /// - Throws: What the emulator and the driver throw where it can't be made.
  public init(_ scenario: Scenario) throws {
    self.scenario = scenario
    var options = Stage.Options()
    options.depth = scenario.depth
    options.ring = scenario.ring
    stage = try Stage(options)
    queue = try stage.device.makeQueue()
    tags = queue.inFlightTags
    buffers = []
    for request in scenario.requests {
      buffers.append(
        BufferBox(try stage.device.memory.allocate(byteCount: max(1, request.byteCount))))
    }
  }

  // MARK: - A run

  /// Runs one schedule: see ``World``.
  public func run(_ schedule: inout Schedule, isKnown: (UInt64) -> Bool) throws -> RunEnd {
    begin(schedule)
    defer { schedule = self.schedule }
    if scenario.client == .eager {
      while submitted < scenario.requests.count { try submit() }
      try kick()
    }
    while ledger.problem == nil {
      let events = possible()
      if events.isEmpty { break }
      try take(events[self.schedule.choose(events.count) { Self.actor(events[$0], requests) }])
      steps += 1
      check()
      if ledger.problem == nil, self.schedule.isBeyondPrefix, isKnown(fingerprint()) {
        try settle()
        return ledger.problem.map { .violation($0) } ?? .known
      }
    }
    if ledger.problem == nil { finish() }
    return ledger.problem.map { .violation($0) } ?? .ended
  }

  private func begin(_ schedule: Schedule) {
    self.schedule = schedule
    self.schedule.rewind()
    queue.restartPolls()
    ledger = QueueLedger(byteCounts: scenario.requests.map(\.byteCount))
    requests = []
    unreaped = []
    submitted = 0
    resetsLeft = scenario.resets
    steps = 0
    hasKickedInVain = false
  }

  /// The steps that can be taken, in a fixed order: the device's, then the client's.
  private func possible() -> [Event] {
    var events = requests.indices.map { Event.device($0) }
    let isStepped = scenario.client == .stepped
    if isStepped, submitted < scenario.requests.count, maySubmit { events.append(.submit) }
    // A kick of an old epoch shows nothing, so that once is enough.
    if isStepped, queue.hasUnpublished, queue.isRunning || !hasKickedInVain {
      events.append(.kick)
    }
    let hasSeen = !unreaped.isEmpty
    if hasSeen { events.append(.reap) }
    // What waits is tried again by each look; a look for it alone is fair only where nobody else
    // acts.
    let isAlone = requests.isEmpty && !queue.hasUnpublished
    let hasWork = hasSeen || queue.keptCount > 0 || !queue.isRunning
    if isStepped, hasWork || queue.hasStalled && isAlone {
      events.append(.next)
    }
    if resetsLeft > 0, isUnfinished { events.append(.reset) }
    return events
  }

  /// An operation that is refused as busy would be tried for ever: it waits until there is a
  /// credit.
  private var maySubmit: Bool {
    queue.inFlight + queue.keptCount < scenario.depth
  }

  private var isUnfinished: Bool {
    ledger.entries.contains { $0.isSubmitted && $0.ended == 0 }
  }

  private static func actor(_ event: Event, _ requests: [DeviceRequest]) -> Int {
    switch event {
    case .device(let index): 16 + Int(requests[index].handle.number & 0xFF)
    case .submit: 0
    case .kick: 1
    case .reap: 2
    case .next: 3
    case .reset: 4
    }
  }

  private func take(_ event: Event) throws {
    switch event {
    case .device(let index): try stepDevice(index)
    case .submit: try submit()
    case .kick: try kick()
    case .reap: try reap()
    case .next: try next()
    case .reset: try reset()
    }
    if scenario.client == .eager {
      while ledger.problem == nil, queue.keptCount > 0 { try next() }
    }
  }

  // MARK: - The device

  /// One step of a request; the last one uses it.
  private func stepDevice(_ index: Int) throws {
    if scenario.deviceSteps == .apart, !requests[index].isAnswered {
      try stage.disk.transfer(requests[index].handle)
      try stage.disk.writeStatus(requests[index].handle)
      requests[index].isAnswered = true
      return
    }
    let request = requests.remove(at: index)
    if request.isAnswered {
      try stage.disk.pushUsed(request.handle)
    } else {
      try stage.disk.complete(request.handle)
    }
    unreaped.append(request)
    ledger.used(request.operation, status: request.status)
  }

  /// The device takes what it was told of. How each bio will end is a choice of the schedule.
  private func fetch() throws {
    guard stage.disk.kickedQueues.contains(0) else { return }
    while stage.disk.available(queue: 0) > 0 {
      let status = scenario.statuses > 1 ? UInt8(schedule.choose(scenario.statuses)) : 0
      if scenario.statuses > 1 {
        stage.disk.setFaults(status == 0 ? [] : [FaultRule(.status(status))])
      }
      guard let handle = stage.disk.fetch(queue: 0) else {
        return ledger.fail("the device refused a chain: \(stage.disk.violations)")
      }
      let what = try stage.disk.describe(handle)
      let tag = tags[what.head]
      guard tag > 0 else { return ledger.fail("a request of no operation was published") }
      let operation = Int(tag) - 1
      if what.type == Self.flushType { checkFlush(of: operation) }
      requests.append(
        DeviceRequest(
          handle: handle, operation: operation, type: what.type, sector: what.sector,
          status: status))
    }
  }

  /// VIRTIO_BLK_T_FLUSH.
  private static var flushType: UInt32 { RequestType.flush.rawValue }

  /// Rule 8: a FLUSH follows all of the data, and only data that is there.
  private func checkFlush(of operation: Int) {
    let statuses = ledger.entries[operation].statuses
    if statuses.contains(where: { $0 != 0 }) { ledger.fail("a FLUSH follows data that failed") }
    if 512 * statuses.count < ledger.entries[operation].byteCount {
      ledger.fail("a FLUSH is published before all of the data was used")
    }
  }

  private func reset() throws {
    stopDevice()
    guard scenario.client == .eager else { return }
    for _ in 0..<1000 where isUnfinished { try next() }
  }

  private func stopDevice() {
    resetsLeft -= 1
    hasKickedInVain = false
    stage.device.reset()
    requests = []
    unreaped = []
    ledger.reset()
  }

  // MARK: - The client

  private func submit() throws {
    let index = submitted
    submitted += 1
    let before = rings
    let tag = UInt64(index + 1)
    let willBeSwept = !queue.isRunning
    let isQueued: Bool
    switch scenario.requests[index] {
    case .flush: isQueued = queue.submitFlush(tag: tag) == .queued
    case .read(let blocks):
      isQueued = accept(
        queue.submitRead(at: place(index, blocks), into: try buffer(index), tag: tag), index)
    case .write(let blocks, let isDurable):
      isQueued = accept(
        queue.submitWrite(
          at: place(index, blocks), from: try buffer(index), tag: tag, durable: isDurable), index)
    case .partial:
      isQueued = accept(
        queue.submitWrite(at: UInt64(100 * index), from: try buffer(index), tag: tag), index)
    case .spread: preconditionFailure("one queue has no spread operations")
    }
    ledger.entries[index].isSubmitted = isQueued
    ledger.entries[index].wasReset = willBeSwept
    if before != rings { ledger.fail("a submission rang the doorbell") }
    if !isQueued, queue.isRunning { ledger.fail("operation \(index) was not accepted") }
  }

  /// Requests lie one behind the other on the device, from block 8 on: the first are the partial
  /// ones'.
  private func place(_ index: Int, _ blocks: Int) -> UInt64 {
    4096 + scenario.requests[..<index].reduce(0) { $0 + UInt64($1.byteCount) + 512 } & ~511
  }

  private func buffer(_ index: Int) throws -> DMABuffer {
    try buffers[index].take(index)
  }

  /// Takes the buffer of a refused operation back.
  private func accept(_ submission: consuming Submission<DMABuffer>, _ index: Int) -> Bool {
    buffers[index].takeBack(submission) == nil
  }

  private func kick() throws {
    let before = rings
    let expected: UInt64 = queue.hasUnpublished && queue.isRunning ? 1 : 0
    queue.kick()
    hasKickedInVain = !queue.isRunning
    if rings - before != expected { ledger.fail("a kick rang \(rings - before) times") }
    try fetch()
  }

  /// Doorbells rung, or found unwanted.
  private var rings: UInt64 { queue.statistics.kicks + queue.statistics.suppressedKicks }

  private func reap() throws {
    var isFirst = true
    while isFirst || scenario.reaps == .all && !unreaped.isEmpty {
      isFirst = false
      let start = queue.reapedIndex
      guard queue.stepReap() else { return ledger.fail("a completion was not seen") }
      noteReaped(since: start)
    }
    // A poll kicks what it published itself.
    if queue.hasUnpublished { try kick() } else { try fetch() }
  }

  private func noteReaped(since start: UInt16) {
    unreaped.removeFirst(min(unreaped.count, Int(queue.reapedIndex &- start)))
  }

  private func next() throws {
    let before = rings
    let hadStalled = queue.hasStalled
    let start = queue.reapedIndex
    let wasRunning = queue.isRunning
    let done = queue.next()
    if wasRunning { noteReaped(since: start) }
    if rings - before > (hadStalled ? 2 : 1) {
      ledger.fail("a poll rang \(rings - before) times")
    }
    try fetch()
    guard let done else { return }
    end(done)
  }

  private func end(_ done: consuming Completion) {
    let index = Int(truncatingIfNeeded: done.tag) - 1
    let result = done.result
    if let buffer = done.buffer.take(), buffers.indices.contains(index) {
      buffers[index].giveBack(buffer)
    }
    ledger.end(index, result)
  }

  // MARK: - Oracles

  /// What must hold after every step.
  private func check() {
    if let broken = queue.brokenInvariant() { ledger.fail(broken) }
    if let touched = queue.touchedPoison() { ledger.fail(touched) }
    queue.poison()
    if steps > 50 * (2 + scenario.requests.count) * (1 + scenario.depth) {
      ledger.fail(
        "no end after \(steps) steps: \(possible().last.map { "\($0)" } ?? "none") again and "
          + "again, "
          + "\(queue.inFlight) in flight, \(queue.keptCount) kept, "
          + "\(queue.hasStalled ? "" : "none ")stalled, \(queue.isRunning ? "" : "not ")running")
    }
  }

  /// What must hold at the end: nothing is in flight, and nobody wrote where he must not.
  private func finish() {
    ledger.finish()
    if !queue.isIdle { ledger.fail("the queue is not at rest, and nothing can happen any more") }
    if !stage.disk.dmaFaults.isEmpty { ledger.fail("DMA outside of what is mapped") }
    for (index, entry) in ledger.entries.enumerated() where entry.ended > 0 {
      let isUntouched = buffers[index].buffer?.isAsGivenBack
      if isUntouched == false { ledger.fail("the buffer of operation \(index) was written to") }
    }
    if schedule.isForeign { ledger.fail("the schedule is another scenario's") }
  }

  /// Brings the world to rest from wherever it is.
  private func settle() throws {
    resetsLeft = 0
    // A reset that nobody has followed yet is left to nobody.
    for _ in 0..<1000 where !queue.isIdle || !queue.isRunning {
      queue.kick()
      stage.disk.setFaults([])
      while let handle = stage.disk.fetch(queue: 0) {
        let what = try stage.disk.describe(handle)
        let tag = tags[what.head]
        requests.append(
          DeviceRequest(
            handle: handle, operation: Int(tag) - 1, type: what.type, sector: what.sector,
            status: 0))
      }
      while !requests.isEmpty { try stepDevice(0) }
      let start = queue.reapedIndex
      let done = queue.next()
      noteReaped(since: start)
      if let done { end(done) }
    }
    if ledger.problem == nil { finish() }
  }

  private func fingerprint() -> UInt64 {
    var print = Fingerprint()
    queue.fingerprint { print.add($0) }
    let sorted = requests.sorted {
      ($0.operation, $0.sector, $0.type) < ($1.operation, $1.sector, $1.type)
    }
    for request in sorted + unreaped {
      print.add(request.sector)
      print.add(
        UInt64(request.operation) << 32 | UInt64(request.type) << 16 | UInt64(request.status) << 1
          | (request.isAnswered ? 1 : 0))
    }
    print.add(hasKickedInVain ? 1 : 0)
    print.add(UInt64(requests.count) << 32 | UInt64(submitted) << 16 | UInt64(resetsLeft))
    for entry in ledger.entries {
      print.add(UInt64(entry.ended) << 1 | (entry.wasReset ? 1 : 0))
      for status in entry.statuses { print.add(UInt64(status) + 1) }
    }
    return print.value
  }
}
