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
public final class QueueWorld: SteppedWorld {
  let scenario: Scenario
  private let stage: Stage
  private var queue: Queue
  private let buffers: [BufferBox]

  // The run.
  var schedule = Schedule()
  var ledger = QueueLedger(byteCounts: [])
  var device: DeviceSide
  private var submitted = 0
  private var resetsLeft = 0
  private(set) var isSettling = false
  /// A kick has found that the device was stopped.
  private var hasKickedInVain = false

  /// A step that can be taken.
  enum Event: Equatable {
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
    device = DeviceSide([
      DeviceSide.Line(disk: stage.disk, queue: 0, tags: queue.inFlightTags)
    ])
    buffers = try BufferBox.boxes(for: scenario.requests, of: stage.device)
  }

  // MARK: - A run

  var budget: Int { 50 * (2 + scenario.requests.count) * (1 + scenario.depth) }

  var isBetweenSteps: Bool { true }

  func begin() throws {
    queue.restartPolls()
    ledger = QueueLedger(byteCounts: scenario.requests.map(\.byteCount))
    device = DeviceSide(device.lines)
    submitted = 0
    resetsLeft = scenario.resets
    isSettling = false
    hasKickedInVain = false
    guard scenario.client == .eager else { return }
    while submitted < scenario.requests.count { try submit() }
    try kick()
  }

  func settle() {
    isSettling = true
    resetsLeft = 0
    submitted = scenario.requests.count
  }

  /// The steps that can be taken, in a fixed order: the device's, then the client's.
  func possible() -> [Event] {
    var events = device.requests.indices.map { Event.device($0) }
    let isStepped = scenario.client == .stepped
    if isStepped, submitted < scenario.requests.count, maySubmit { events.append(.submit) }
    // A kick of an old epoch shows nothing, so that once is enough.
    if isStepped, queue.hasUnpublished, queue.isRunning || !hasKickedInVain {
      events.append(.kick)
    }
    let hasSeen = !device.unreaped[0].isEmpty
    if hasSeen { events.append(.reap) }
    // What waits is tried again by each look; a look for it alone is fair only where nobody else
    // acts.
    let isAlone = device.requests.isEmpty && !queue.hasUnpublished
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

  func actor(_ event: Event) -> Int {
    switch event {
    case .device(let index): 16 + Int(device.requests[index].handle.number & 0xFF)
    case .submit: 0
    case .kick: 1
    case .reap: 2
    case .next: 3
    case .reset: 4
    }
  }

  func take(_ event: Event) throws {
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
    let request = device.requests[index]
    if scenario.deviceSteps == .apart, !request.isAnswered { return try device.answer(index) }
    try device.use(index)
    ledger.used(request.operation, status: request.status)
  }

  private func fetch() throws {
    let fetched = try fetch(0) { tags, head in
      tags[head] > 0 ? Int(tags[head]) - 1 : nil
    }
    for request in fetched where request.type == Self.flushType {
      checkFlush(of: request.operation)
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
    device.stop([0])
    ledger.reset()
  }

  // MARK: - The client

  private func submit() throws {
    let index = submitted
    submitted += 1
    let before = queue.rings
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
    if before != queue.rings { ledger.fail("a submission rang the doorbell") }
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
    let before = queue.rings
    let expected: UInt64 = queue.hasUnpublished && queue.isRunning ? 1 : 0
    queue.kick()
    hasKickedInVain = !queue.isRunning
    if queue.rings - before != expected { ledger.fail("a kick rang \(queue.rings - before) times") }
    try fetch()
  }

  private func reap() throws {
    var isFirst = true
    while isFirst || scenario.reaps == .all && !device.unreaped[0].isEmpty {
      isFirst = false
      let start = queue.reapedIndex
      guard queue.stepReap() else { return ledger.fail("a completion was not seen") }
      noteReaped(since: start)
    }
    // A poll kicks what it published itself.
    if queue.hasUnpublished { try kick() } else { try fetch() }
  }

  private func noteReaped(since start: UInt16) {
    device.reaped(0, Int(queue.reapedIndex &- start))
  }

  private func next() throws {
    let before = queue.rings
    let hadStalled = queue.hasStalled
    let start = queue.reapedIndex
    let wasRunning = queue.isRunning
    let done = queue.next()
    if wasRunning { noteReaped(since: start) }
    if queue.rings - before > (hadStalled ? 2 : 1) {
      ledger.fail("a poll rang \(queue.rings - before) times")
    }
    try fetch()
    if let done { ledger.end(done, buffers) }
  }

  // MARK: - Oracles

  func check() {
    if let broken = queue.brokenInvariant() { ledger.fail(broken) }
    if let touched = queue.touchedPoison() { ledger.fail(touched) }
    queue.poison()
  }

  func finish() {
    ledger.finish(buffers, [stage.disk])
    if !queue.isIdle { ledger.fail("the queue is not at rest, and nothing can happen any more") }
  }

  func fingerprint(_ add: (UInt64) -> Void) {
    queue.fingerprint(add)
    device.fingerprint(add)
    ledger.fingerprint(add)
    add(UInt64(submitted) << 16 | UInt64(resetsLeft))
    add(hasKickedInVain ? 1 : 0)
  }
}
