internal import Histogram
internal import VBlk

/// One job of a bench: a queue kept full by one thread until the time is over.
///
/// The clock is read once a batch of completions, not once an I/O: a latency runs from the reading
/// before a request's kick to the one before its batch is taken, so it includes the time to submit
/// the batch.
struct BenchJob: ~Copyable {
  /// What every job of a bench does.
  struct Plan: Sendable {
    var pattern: BenchPattern
    var blockByteCount: Int
    var depth: Int
    var runtimeNanoseconds: UInt64
    /// Bytes of the device that are used: whole blocks of the bench.
    var spanByteCount: UInt64
    var seed: UInt64
    /// How a job waits when its queue has nothing for it.
    var wait = WaitPolicy.busy
  }

  /// What a job measured.
  struct Measurement: Sendable {
    var reads = BenchResult.Direction()
    var writes = BenchResult.Direction()
    var runtimeNanoseconds: UInt64 = 0
    var kicks: UInt64 = 0
    var suppressedKicks: UInt64 = 0
    var polls: UInt64 = 0
    var emptyPolls: UInt64 = 0
  }

  /// The longest sleep before a look at the clock and at ^C, in nanoseconds.
  private static let longestSleep: UInt64 = 20_000_000
  /// Looks that find nothing between two looks at the clock.
  private static let emptyLooksPerClock = 1024

  private let plan: Plan
  private let blockCount: UInt64
  private let mixes: Bool
  private let writes: Bool
  private let isRandom: Bool
  private var queue: Queue
  private var random: SplitMix
  private var nextBlock: UInt64
  private var inFlight = 0
  private var failure: VBlkError?

  /// Prepares job `number` of a bench on a queue of its own.
  init(_ plan: Plan, number: Int, jobs: Int, device: Device) throws(VBlkError) {
    self.plan = plan
    blockCount = plan.spanByteCount / UInt64(plan.blockByteCount)
    queue = try device.makeQueue()
    random = SplitMix(seed: plan.seed &+ UInt64(number) &* 0x1000_0000_01B3)
    // Sequential jobs share the span out among them.
    nextBlock = blockCount / UInt64(jobs) * UInt64(number)
    mixes = plan.pattern == .randrw
    writes = plan.pattern.writes
    isRandom = plan.pattern.isRandom
  }

  /// Runs until the time is over, ^C, or the first error; then drains.
  mutating func run(_ device: Device) throws -> Measurement {
    var measurement = Measurement()
    var reads = LatencyMeter()
    var writes = LatencyMeter()
    let before = queue.statistics
    let start = Clock.nanoseconds
    let end = start &+ plan.runtimeNanoseconds
    for _ in 0..<plan.depth {
      submit(try device.memory.allocate(byteCount: plan.blockByteCount), now: start)
    }
    queue.kick()
    keepFull(until: end, &reads, &writes)
    drain(&reads, &writes)
    measurement.runtimeNanoseconds = Clock.nanoseconds &- start
    if let failure { throw failure }
    measurement.reads = reads.finish()
    measurement.writes = writes.finish()
    let after = queue.statistics
    measurement.kicks = after.kicks &- before.kicks
    measurement.suppressedKicks = after.suppressedKicks &- before.suppressedKicks
    measurement.polls = after.polls &- before.polls
    measurement.emptyPolls = after.emptyPolls &- before.emptyPolls
    return measurement
  }

  private mutating func keepFull(
    until end: UInt64, _ reads: inout LatencyMeter, _ writes: inout LatencyMeter
  ) {
    var now: UInt64 = 0
    var reaped = 0
    var emptyLooks = 0
    while failure == nil {
      if var completion = queue.next() {
        if reaped == 0 { now = Clock.nanoseconds }
        reaped &+= 1
        account(completion.tag, completion.result, now: now, &reads, &writes)
        if let buffer = completion.buffer.take() { submit(buffer, now: now) }
        continue
      }
      if reaped > 0 {
        queue.kick()
        reaped = 0
        emptyLooks = 0
        if now >= end || Interrupt.isRequested { return }
        continue
      }
      if plan.wait.needsInterrupts {
        waitForOne(&reads, &writes)
        if Clock.nanoseconds >= end || Interrupt.isRequested { return }
        continue
      }
      emptyLooks &+= 1
      if emptyLooks == Self.emptyLooksPerClock {
        emptyLooks = 0
        if Clock.nanoseconds >= end || Interrupt.isRequested { return }
      }
    }
  }

  /// Waits for a completion as the plan says, and answers it with the next request.
  private mutating func waitForOne(_ reads: inout LatencyMeter, _ writes: inout LatencyMeter) {
    guard
      var completion = queue.next(waiting: plan.wait, forNanoseconds: Self.longestSleep)
    else { return }
    let now = Clock.nanoseconds
    account(completion.tag, completion.result, now: now, &reads, &writes)
    if let buffer = completion.buffer.take() { submit(buffer, now: now) }
  }

  private mutating func drain(_ reads: inout LatencyMeter, _ writes: inout LatencyMeter) {
    // What was submitted last may not have been told of yet.
    queue.kick()
    while inFlight > 0 {
      guard let completion = queue.next() else { continue }
      account(completion.tag, completion.result, now: Clock.nanoseconds, &reads, &writes)
    }
  }

  @inline(__always)
  private mutating func account(
    _ tag: UInt64, _ result: IOResult, now: UInt64, _ reads: inout LatencyMeter,
    _ writes: inout LatencyMeter
  ) {
    inFlight &-= 1
    guard _fastPath(result.code == nil) else { return fail(result.code) }
    let count = UInt64(truncatingIfNeeded: result.byteCount)
    if tag & 1 == 0 {
      reads.add(now &- tag &>> 1, byteCount: count)
    } else {
      writes.add(now &- tag &>> 1, byteCount: count)
    }
  }

  /// Submits the next request of the pattern; its tag is `now`, and whether it writes.
  @inline(__always)
  private mutating func submit(_ buffer: consuming DMABuffer, now: UInt64) {
    let offset = nextOffset()
    let isWrite = mixes ? random.next() & 1 == 1 : writes
    let submission =
      isWrite
      ? queue.submitWrite(at: offset, from: buffer, tag: now &<< 1 | 1)
      : queue.submitRead(at: offset, into: buffer, tag: now &<< 1)
    switch consume submission {
    case .queued: inFlight &+= 1
    case .refused(let code, _): fail(code)
    // Only an empty request, or one beyond the end, ends in its submission: neither is planned.
    case .completed(let result, _): fail(result.code)
    }
  }

  /// The first failure ends the job.
  @inline(never)
  private mutating func fail(_ code: VBlkError.Code?) {
    if failure == nil { failure = queue.error(for: code ?? .invalidArgument) }
  }

  @inline(__always)
  private mutating func nextOffset() -> UInt64 {
    let block: UInt64
    if isRandom {
      block = random.below(blockCount)
    } else {
      block = nextBlock
      nextBlock = nextBlock &+ 1 == blockCount ? 0 : nextBlock &+ 1
    }
    return block &* UInt64(truncatingIfNeeded: plan.blockByteCount)
  }
}
