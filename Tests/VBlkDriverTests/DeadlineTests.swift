import Synchronization
import Testing
import VBlkEmu

@testable import VBlkDriver

/// Deadlines on a clock of the test's own.
@Suite("Deadlines", .onEachRing)
struct DeadlineTests {
  /// A clock that moves when it is told to, and a microsecond each time it is read.
  final class Clock: Sendable {
    private let nanoseconds = Atomic<UInt64>(1_000_000_000)

    var now: UInt64 { nanoseconds.wrappingAdd(1000, ordering: .relaxed).newValue }

    func advance(milliseconds: UInt64) {
      nanoseconds.wrappingAdd(milliseconds * 1_000_000, ordering: .relaxed)
    }
  }

  private func bench(_ clock: Clock, deadlineMilliseconds: UInt64) throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
    } options: {
      $0.depth = 4
      $0.deadlineNanoseconds = deadlineMilliseconds * 1_000_000
      $0.clock = { clock.now }
    }
  }

  /// Polls as often as one look at the clock takes.
  private func tick(_ queue: inout Queue) -> Summary? { queue.nextSummary(1100) }

  @Test(
    "a queue that nobody polled for longer than the deadline gives a new operation its full time")
  func idleQueue() throws {
    let clock = Clock()
    let bench = try bench(clock, deadlineMilliseconds: 1000)
    var queue = try bench.device.makeQueue()
    #expect(tick(&queue) == nil)
    clock.advance(milliseconds: 5000)
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
      return
    }
    queue.kick()
    #expect(tick(&queue) == nil, "it was submitted a moment ago")
    clock.advance(milliseconds: 900)
    #expect(tick(&queue) == nil)
    clock.advance(milliseconds: 200)
    #expect(tick(&queue)?.code == .timedOut)
  }

  @Test("the late operation ends with timedOut, the others with reset")
  func onlyTheLate() throws {
    let clock = Clock()
    let bench = try bench(clock, deadlineMilliseconds: 1000)
    var queue = try bench.device.makeQueue()
    #expect(tick(&queue) == nil)
    for tag in 1...2 as ClosedRange<UInt64> {
      let bytes = tag == 1 ? 1024 : 512
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(bytes), tag: tag) else {
        return
      }
      queue.kick()
      for _ in 0..<8 {
        clock.advance(milliseconds: 50)
        #expect(tick(&queue) == nil)
      }
    }
    var codes: [UInt64: VBlkError.Code?] = [:]
    for _ in 0..<12 {
      clock.advance(milliseconds: 50)
      while let done = tick(&queue) { codes[done.tag] = done.code }
    }
    #expect(codes == [1: .timedOut, 2: .reset])
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("a large operation may take longer than the deadline while its bios come back")
  func largeOperation() throws {
    let clock = Clock()
    let bench = try bench(clock, deadlineMilliseconds: 300)
    var queue = try bench.device.makeQueue()
    #expect(tick(&queue) == nil)
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512 * 40), tag: 7) else {
      return
    }
    queue.kick()
    var done: Summary?
    for _ in 0..<40 where done == nil {
      clock.advance(milliseconds: 50)
      if let handle = bench.disk.fetch(queue: 0) { try bench.disk.complete(handle) }
      done = tick(&queue)
    }
    #expect(done == Summary(tag: 7, byteCount: 512 * 40, code: nil, hasBuffer: true))
  }

  @Test("a lost kick is repeated, and counted")
  func lostKick() throws {
    let clock = Clock()
    let bench = try bench(clock, deadlineMilliseconds: 5000)
    var queue = try bench.device.makeQueue()
    #expect(tick(&queue) == nil)
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
      return
    }
    queue.kick()
    let kicks = bench.disk.counters(queue: 0).kicks
    for _ in 0..<25 {
      clock.advance(milliseconds: 20)
      #expect(tick(&queue) == nil)
    }
    #expect(queue.statistics.rekicks == 2)
    #expect(bench.disk.counters(queue: 0).kicks == kicks + 2)
  }
}
