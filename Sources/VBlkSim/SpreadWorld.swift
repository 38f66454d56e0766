import DMAPool
import VBlkDriver
import VBlkEmu

/// A group of two queues, their two owners, and one or two devices in steps: every order of home's
/// steps, the loop's, the devices' and of resets.
///
/// Where a scenario is fine, each owner's reap can stop inside the end of a part, between its
/// error, its drop and the hand-over, and the others act meanwhile. The oracles are those of
/// ``QueueWorld``.
public final class SpreadWorld: SteppedWorld {
  let scenario: Scenario
  private let stages: [Stage]
  private let home: SteppedHome
  private let loop: SteppedLoop
  /// Both, by their lines.
  private let members: [any SteppedMember]
  private let relay: PauseRelay
  private let buffers: [BufferBox]

  // The run.
  var schedule = Schedule()
  var ledger = QueueLedger(byteCounts: [])
  var device: DeviceSide
  private var submitted = 0
  private var resetsLeft = 0
  private(set) var isSettling = false
  /// Which operation has which record.
  private var operations: [UInt32: Int] = [:]
  /// The first error of each line's part, by operation.
  private var partErrors: [[UInt8]] = []
  /// A kick has found that the device was stopped.
  private var hasKickedInVain = [false, false]
  /// What is being reaped on each line.
  private var reaping: [DeviceSide.Request?] = [nil, nil]
  private let fibers: [Fiber]
  /// Whose step is being taken.
  private var acting: Int?

  /// A step: a queue's by its line, 0 for home and 1 for the loop.
  enum Event: Equatable {
    case device(Int)
    case submit, drop, takeInbox, deliver, beginParts
    case kick(Int)
    case reap(Int)
    case goOn(Int)
    case follow(Int)
    case reset(Int)
  }

  /// Makes the world of a scenario.
  ///
  /// - Throws: What the emulator and the driver throw where it can't be made.
  public init(_ scenario: Scenario) throws {
    self.scenario = scenario
    var options = Stage.Options()
    options.queues = scenario.devices == 1 ? 2 : 1
    options.depth = scenario.depth
    options.ring = scenario.ring
    var stages: [Stage] = []
    for _ in 0..<scenario.devices { stages.append(try Stage(options)) }
    self.stages = stages
    if scenario.devices == 2 { try stages[1].device.attach(stages[0].device.memory) }
    let first = try stages[0].device.makeQueue()
    loop = try SteppedLoop(try stages[scenario.devices - 1].device.makeQueue())
    let relay = PauseRelay()
    self.relay = relay
    home = SteppedHome(first, with: [loop.shared], depth: scenario.requests.count) {
      relay.handler?($0)
    }
    members = [home, loop]
    device = DeviceSide([
      DeviceSide.Line(disk: stages[0].disk, queue: 0, tags: home.inFlightTags),
      DeviceSide.Line(
        disk: stages[scenario.devices - 1].disk, queue: 2 - scenario.devices,
        tags: loop.inFlightTags),
    ])
    fibers = scenario.isFine ? [Fiber(), Fiber()] : []
    buffers = try BufferBox.boxes(for: scenario.requests, of: stages[0].device)
    relay.handler = { [unowned self] in partEnds($0) }
  }

  // MARK: - A run

  var budget: Int { 50 * (2 + scenario.requests.count) * (2 + scenario.depth) }

  var isBetweenSteps: Bool { fibers.allSatisfy { !$0.isPaused } }

  func begin() {
    for member in members { member.restartPolls() }
    ledger = QueueLedger(byteCounts: scenario.requests.map(\.byteCount))
    device = DeviceSide(device.lines)
    submitted = 0
    resetsLeft = scenario.resets
    isSettling = false
    operations = [:]
    partErrors = scenario.requests.map { _ in [0, 0] }
    hasKickedInVain = [false, false]
  }

  func settle() {
    isSettling = true
    resetsLeft = 0
    submitted = scenario.requests.count
  }

  func possible() -> [Event] {
    var events = device.requests.indices.map { Event.device($0) }
    events += homeSteps() + loopSteps()
    let isUnfinished = ledger.entries.contains { $0.isSubmitted && $0.ended == 0 }
    if resetsLeft > 0, isUnfinished { events += stages.indices.map { .reset($0) } }
    return events
  }

  private func homeSteps() -> [Event] {
    if isPaused(0) { return [.goOn(0)] }
    if home.issuedRecord != nil { return [.drop] }
    var events: [Event] = []
    if submitted < scenario.requests.count, maySubmit { events.append(.submit) }
    if home.hasUnpublished, home.isRunning || !hasKickedInVain[0] { events.append(.kick(0)) }
    if !device.unreaped[0].isEmpty { events.append(.reap(0)) }
    if home.hasInbox { events.append(.takeInbox) }
    if home.hasDone { events.append(.deliver) }
    if home.mustFollow { events.append(.follow(0)) }
    return events
  }

  /// An operation that is refused as busy would be tried for ever; one that finds the device
  /// stopped is refused, and not tried again.
  private var maySubmit: Bool {
    guard home.isRunning else { return home.mustFollow }
    guard case .spread(_, _, _, let isDurable) = scenario.requests[submitted] else { return false }
    return home.freeSlots >= (isDurable ? 2 : 1)
  }

  private func loopSteps() -> [Event] {
    if isPaused(1) { return [.goOn(1)] }
    var events: [Event] = []
    if loop.mayBeginParts { events.append(.beginParts) }
    if loop.hasUnpublished, loop.isRunning || !hasKickedInVain[1] { events.append(.kick(1)) }
    if !device.unreaped[1].isEmpty { events.append(.reap(1)) }
    if loop.mustFollow { events.append(.follow(1)) }
    return events
  }

  private func isPaused(_ line: Int) -> Bool { !fibers.isEmpty && fibers[line].isPaused }

  func actor(_ event: Event) -> Int {
    switch event {
    case .device(let index): 16 + Int(device.requests[index].handle.number & 0xFF)
    case .submit, .drop, .takeInbox, .deliver: 0
    case .beginParts: 1
    case .kick(let line), .reap(let line), .goOn(let line), .follow(let line): line
    case .reset: 4
    }
  }

  func take(_ event: Event) throws {
    switch event {
    case .device(let index): try device.use(index)
    case .submit: try submit()
    case .drop: drop()
    case .takeInbox: home.takeInbox()
    case .deliver: deliver()
    case .beginParts: loop.beginParts()
    case .kick(let line): try kick(line)
    case .reap(let line): try reap(line)
    case .goOn(let line): try go(line) { $0.resume() }
    case .follow(let line):
      hasKickedInVain[line] = false
      members[line].follow()
    case .reset(let number): reset(number)
    }
  }

  // MARK: - Home

  private func submit() throws {
    let index = submitted
    submitted += 1
    guard case .spread(let blocks, _, let isWrite, let isDurable) = scenario.requests[index] else {
      preconditionFailure("a group has spread operations")
    }
    let wasRunning = home.isRunning
    let before = home.rings
    let notQueued = buffers[index].takeBack(
      home.issue(
        write: isWrite, at: place(index, blocks), try buffers[index].take(index),
        tag: UInt64(index + 1), durable: isDurable))
    if before != home.rings { ledger.fail("a submission rang the doorbell") }
    if let record = home.issuedRecord {
      operations[record] = index
      ledger.entries[index].isSubmitted = true
      ledger.entries[index].wasReset = !wasRunning
    } else if wasRunning, !home.mustFollow, home.isRunning {
      ledger.fail("operation \(index) was not accepted: \(notQueued.map { "\($0)" } ?? "")")
    }
  }

  /// On one device the operations lie one behind the other, and the group halves each; two devices
  /// meet where the home's ends.
  private func place(_ index: Int, _ blocks: Int) -> UInt64 {
    guard scenario.devices == 1 else { return home.byteCount / 2 - UInt64(512 * blocks) }
    return scenario.requests[..<index].reduce(0) { $0 + UInt64($1.byteCount) }
  }

  private func drop() {
    guard let record = home.issuedRecord, let index = operations[record] else { return }
    switch buffers[index].takeBack(home.drop()) {
    case nil: break
    case .ended(let result): ledger.end(index, result)
    case .refused(let code): ledger.fail("operation \(index) was refused (\(code)) after its parts")
    }
  }

  private func deliver() {
    guard let done = home.takeDone() else { return ledger.fail("a done dio was not delivered") }
    ledger.end(done, buffers)
  }

  // MARK: - Both

  private func kick(_ line: Int) throws {
    let member = members[line]
    let expected: UInt64 = member.isRunning && member.hasUnpublished ? 1 : 0
    let before = member.rings
    hasKickedInVain[line] = !member.isRunning
    member.kick()
    let rung = member.rings - before
    if rung != expected { ledger.fail("a kick rang \(rung) times") }
    try fetch(line) { tags, head in tags.spreadRecord(head: head).flatMap { operations[$0] } }
  }

  private func reap(_ line: Int) throws {
    guard let request = device.reaped(line, 1).first else { return }
    reaping[line] = request
    if partErrors[request.operation][line] == 0 {
      partErrors[request.operation][line] = request.status
    }
    ledger.saw(request.operation, status: request.status)
    let reapOne: () -> Void = { [unowned self] in
      if !members[line].reapOne() { ledger.fail("a completion was not seen") }
    }
    guard !fibers.isEmpty else {
      acting = line
      defer { acting = nil }
      reapOne()
      return try endReap(line)
    }
    try go(line) { $0.start(reapOne) }
  }

  /// Lets an owner go on inside its reap.
  private func go(_ line: Int, _ move: (Fiber) -> Void) throws {
    acting = line
    move(fibers[line])
    acting = nil
    if !fibers[line].isPaused { try endReap(line) }
  }

  private func endReap(_ line: Int) throws {
    reaping[line] = nil
    // A poll kicks what it published itself.
    if members[line].hasUnpublished { try kick(line) }
  }

  /// A part ends: by a reap, or because its queue stands still.
  private func partEnds(_ step: SpreadStep) {
    guard let line = acting, let request = reaping[line] else { return }
    if step == .recorded {
      let operation = request.operation
      ledger.used(operation, status: partErrors[operation][line])
      partErrors[operation][line] = 0
      if (device.requests + device.unreaped[line]).contains(where: {
        $0.line == line && $0.operation == operation
      }) {
        ledger.fail("a part of operation \(operation) ended before its bios")
      }
    }
    if !fibers.isEmpty { fibers[line].pause() }
  }

  private func reset(_ number: Int) {
    resetsLeft -= 1
    stages[number].device.reset()
    device.stop(stages.count == 1 ? [0, 1] : [number])
    hasKickedInVain = [false, false]
    ledger.reset()
  }

  // MARK: - Oracles

  func check() {
    for member in members {
      if let broken = member.brokenInvariant() { ledger.fail(broken) }
      if let touched = member.touchedPoison() { ledger.fail(touched) }
      member.poison()
    }
  }

  func finish() {
    ledger.finish(buffers, stages.map(\.disk))
    if !members.allSatisfy(\.isIdle) {
      ledger.fail("home or loop is not at rest, and nothing can happen any more")
    }
  }

  func fingerprint(_ add: (UInt64) -> Void) {
    home.fingerprint(add)
    loop.fingerprint(add)
    device.fingerprint(add)
    ledger.fingerprint(add)
    add(UInt64(submitted) << 16 | UInt64(resetsLeft))
    for line in 0..<2 {
      add(hasKickedInVain[line] ? 1 : 0)
      for errors in partErrors { add(UInt64(errors[line])) }
    }
  }
}

/// Where the driver's pauses go, once the world is there.
private final class PauseRelay: @unchecked Sendable {  // one thread acts at a time
  var handler: ((SpreadStep) -> Void)?
}
