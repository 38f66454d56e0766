import DMAPool
import VBlkDriver
import VBlkEmu

/// A client at its port, the loop that has the queue, and a device in steps: every order of the
/// three, and of resets. The oracles are those of ``QueueWorld``.
public final class PortWorld: SteppedWorld {
  let scenario: Scenario
  private let stage: Stage
  private let loop: SteppedLoop
  private var port: Port
  private let buffers: [BufferBox]

  // The run.
  var schedule = Schedule()
  var ledger = QueueLedger(byteCounts: [])
  var device: DeviceSide
  private var pushed = 0
  /// Requests that the loop has taken from the port.
  private var popped = 0
  private var resetsLeft = 0
  private(set) var isSettling = false
  private var hasKickedInVain = false

  /// A step: the device's, the client's, the loop's.
  enum Event: Equatable {
    case device(Int)
    case push, take
    case pop, kick, reap
    case reset
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
    loop = try SteppedLoop(try stage.device.makeQueue())
    port = try loop.shared.makePort(depth: 4)
    precondition(scenario.requests.count <= 4, "the port has four credits")
    loop.adoptPorts()
    device = DeviceSide([
      DeviceSide.Line(disk: stage.disk, queue: 0, tags: loop.inFlightTags)
    ])
    buffers = try BufferBox.boxes(for: scenario.requests, of: stage.device)
  }

  // MARK: - A run

  var budget: Int { 50 * (2 + scenario.requests.count) * (2 + scenario.depth) }

  var isBetweenSteps: Bool { true }

  func begin() {
    loop.restartPolls()
    ledger = QueueLedger(byteCounts: scenario.requests.map(\.byteCount))
    device = DeviceSide(device.lines)
    pushed = 0
    popped = 0
    resetsLeft = scenario.resets
    isSettling = false
    hasKickedInVain = false
  }

  func settle() {
    isSettling = true
    resetsLeft = 0
  }

  func possible() -> [Event] {
    var events = device.requests.indices.map { Event.device($0) }
    if pushed < scenario.requests.count, !isSettling { events.append(.push) }
    if port.hasCompletion { events.append(.take) }
    if loop.mayTakeRequest { events.append(.pop) }
    // A kick of an old epoch shows nothing, so that once is enough.
    if loop.hasUnpublished, loop.isRunning || !hasKickedInVain { events.append(.kick) }
    // What waits is tried again by each look; a look for it alone is fair only where nobody else
    // acts.
    let isAlone = device.requests.isEmpty && !loop.hasUnpublished
    if !device.unreaped[0].isEmpty || loop.keptCount > 0 || loop.mustFollow
      || loop.hasStalled && isAlone
    {
      events.append(.reap)
    }
    if resetsLeft > 0, ledger.entries.contains(where: { $0.isSubmitted && $0.ended == 0 }) {
      events.append(.reset)
    }
    return events
  }

  func actor(_ event: Event) -> Int {
    switch event {
    case .device(let index): 16 + Int(device.requests[index].handle.number & 0xFF)
    case .push, .take: 0
    case .pop, .kick, .reap: 1
    case .reset: 4
    }
  }

  func take(_ event: Event) throws {
    switch event {
    case .device(let index): try device.use(index)
    case .push: try push()
    case .take: takeCompletion()
    case .pop: try pop()
    case .kick: try kick()
    case .reap: try reap()
    case .reset: reset()
    }
  }

  // MARK: - The client

  private func push() throws {
    let index = pushed
    pushed += 1
    let tag = UInt64(index + 1)
    let place = UInt64(4096 * (index + 1))
    let isQueued: Bool
    switch scenario.requests[index] {
    case .read:
      isQueued =
        buffers[index].takeBack(
          port.submitRead(at: place, into: try buffers[index].take(index), tag: tag)) == nil
    case .write(_, let isDurable):
      isQueued =
        buffers[index].takeBack(
          port.submitWrite(
            at: place, from: try buffers[index].take(index), tag: tag, durable: isDurable)) == nil
    case .partial:
      isQueued =
        buffers[index].takeBack(
          port.submitWrite(
            at: UInt64(100 * index), from: try buffers[index].take(index), tag: tag)) == nil
    case .flush: isQueued = port.submitFlush(tag: tag) == .queued
    case .spread: preconditionFailure("a port has no spread operations")
    }
    port.kick()
    ledger.entries[index].isSubmitted = isQueued
    if !isQueued { ledger.fail("operation \(index) was not accepted by its port") }
  }

  private func takeCompletion() {
    guard let done = port.next() else { return ledger.fail("a completion was not seen") }
    ledger.end(done, buffers)
  }

  // MARK: - The loop

  private func pop() throws {
    if !loop.isRunning {
      // What a queue takes that has not followed a reset yet, the reset ends.
      ledger.entries[popped].wasReset = true
      ledger.entries[popped].mayBeRefused = true
    }
    // A loop that finds itself restarted may have no slot after all.
    if loop.takeRequest() { popped += 1 }
    if scenario.client == .eager { try kick() }
  }

  private func kick() throws {
    let before = loop.rings
    let expected: UInt64 = loop.hasUnpublished && loop.isRunning ? 1 : 0
    hasKickedInVain = !loop.isRunning
    loop.kick()
    if loop.rings - before != expected { ledger.fail("a kick rang \(loop.rings - before) times") }
    try fetch()
  }

  private func reap() throws {
    let start = loop.reapedIndex
    let wasRunning = loop.isRunning
    if !wasRunning { hasKickedInVain = false }
    loop.deliverOne()
    if wasRunning {
      for request in device.reaped(0, Int(loop.reapedIndex &- start)) {
        ledger.used(request.operation, status: request.status)
      }
    }
    try fetch()
  }

  private func fetch() throws {
    try fetch(0) { Int(truncatingIfNeeded: loop.clientTag($0[$1])) - 1 }
  }

  private func reset() {
    resetsLeft -= 1
    stage.device.reset()
    // What the loop has seen already it may still reap, before it follows the reset.
    for request in device.unreaped[0] { ledger.saw(request.operation, status: request.status) }
    device.stop([0])
    hasKickedInVain = false
    ledger.reset()
  }

  // MARK: - Oracles

  func check() {
    if let broken = loop.brokenInvariant() { ledger.fail(broken) }
    if let touched = loop.touchedPoison() { ledger.fail(touched) }
    loop.poison()
  }

  func finish() {
    ledger.finish(buffers, [stage.disk])
    if !loop.isIdle || port.inFlight > 0 {
      ledger.fail("the loop or the port is not at rest, and nothing can happen any more")
    }
  }

  func fingerprint(_ add: (UInt64) -> Void) {
    loop.fingerprint(add)
    port.fingerprint(add)
    device.fingerprint(add)
    ledger.fingerprint(add)
    add(UInt64(pushed) << 24 | UInt64(popped) << 16 | UInt64(resetsLeft))
    add(hasKickedInVain ? 1 : 0)
  }
}
