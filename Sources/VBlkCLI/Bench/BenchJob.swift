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

  /// Looks that find nothing between two looks at the clock.
  private static let emptyLooksPerClock = 1024

  private let plan: Plan
  private let blockCount: UInt64
  private var queue: Queue
  private var random: SplitMix
  private var nextBlock: UInt64
  private var stamps: [UInt64]
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
    stamps = [UInt64](repeating: 0, count: plan.depth)
  }

  /// Runs until the time is over, ^C, or the first error; then drains.
  mutating func run(_ device: Device) throws -> Measurement {
    var measurement = Measurement()
    let before = queue.statistics
    let start = Clock.nanoseconds
    let end = start &+ plan.runtimeNanoseconds
    for slot in 0..<plan.depth {
      submit(try device.memory.allocate(byteCount: plan.blockByteCount), slot: slot, now: start)
    }
    queue.kick()
    keepFull(until: end, &measurement)
    drain(&measurement)
    measurement.runtimeNanoseconds = Clock.nanoseconds &- start
    if let failure { throw failure }
    let after = queue.statistics
    measurement.kicks = after.kicks &- before.kicks
    measurement.suppressedKicks = after.suppressedKicks &- before.suppressedKicks
    measurement.polls = after.polls &- before.polls
    measurement.emptyPolls = after.emptyPolls &- before.emptyPolls
    return measurement
  }

  private mutating func keepFull(until end: UInt64, _ measurement: inout Measurement) {
    var emptyLooks = 0
    while failure == nil {
      guard let first = queue.next() else {
        emptyLooks &+= 1
        if emptyLooks == Self.emptyLooksPerClock {
          emptyLooks = 0
          if Clock.nanoseconds >= end || Interrupt.isRequested { return }
        }
        continue
      }
      emptyLooks = 0
      let now = Clock.nanoseconds
      resubmit(first, now: now, &measurement)
      while let completion = queue.next() { resubmit(completion, now: now, &measurement) }
      queue.kick()
      if now >= end || Interrupt.isRequested { return }
    }
  }

  private mutating func drain(_ measurement: inout Measurement) {
    while inFlight > 0 {
      guard let completion = queue.next() else { continue }
      _ = account(completion.tag, completion.result, now: Clock.nanoseconds, &measurement)
    }
  }

  @inline(__always)
  private mutating func resubmit(
    _ completion: consuming Completion, now: UInt64, _ measurement: inout Measurement
  ) {
    let slot = account(completion.tag, completion.result, now: now, &measurement)
    guard failure == nil, let buffer = completion.buffer.take() else { return }
    submit(buffer, slot: slot, now: now)
  }

  @inline(__always)
  private mutating func account(
    _ tag: UInt64, _ result: IOResult, now: UInt64, _ measurement: inout Measurement
  ) -> Int {
    inFlight &-= 1
    let slot = Int(truncatingIfNeeded: tag &>> 1)
    if let code = result.code {
      if failure == nil { failure = queue.error(for: code) }
      return slot
    }
    let latency = now &- stamps[slot]
    if tag & 1 == 0 {
      measurement.reads.requests &+= 1
      measurement.reads.byteCount &+= UInt64(truncatingIfNeeded: result.byteCount)
      _ = measurement.reads.latency.record(latency)
    } else {
      measurement.writes.requests &+= 1
      measurement.writes.byteCount &+= UInt64(truncatingIfNeeded: result.byteCount)
      _ = measurement.writes.latency.record(latency)
    }
    return slot
  }

  @inline(__always)
  private mutating func submit(_ buffer: consuming DMABuffer, slot: Int, now: UInt64) {
    let offset = nextOffset()
    let isWrite =
      plan.pattern == .randrw ? random.next() & 1 == 1 : plan.pattern.writes
    stamps[slot] = now
    let tag = UInt64(truncatingIfNeeded: slot) &<< 1 | (isWrite ? 1 : 0)
    let submission =
      isWrite
      ? queue.submitWrite(at: offset, from: buffer, tag: tag)
      : queue.submitRead(at: offset, into: buffer, tag: tag)
    switch consume submission {
    case .queued: inFlight &+= 1
    case .refused(let code, _):
      if failure == nil { failure = queue.error(for: code) }
    case .completed(let result, _):
      // Only an empty request, or one beyond the end, ends in its submission: neither is planned.
      if failure == nil { failure = queue.error(for: result.code ?? .invalidArgument) }
    }
  }

  @inline(__always)
  private mutating func nextOffset() -> UInt64 {
    let block: UInt64
    if plan.pattern.isRandom {
      block = random.below(blockCount)
    } else {
      block = nextBlock
      nextBlock = nextBlock &+ 1 == blockCount ? 0 : nextBlock &+ 1
    }
    return block &* UInt64(truncatingIfNeeded: plan.blockByteCount)
  }
}
