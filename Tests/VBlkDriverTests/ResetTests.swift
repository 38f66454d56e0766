import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Rows T37-T43 of facts §3.2 that one thread can show: each accepted operation ends exactly once,
/// after the device has stopped.
@Suite("Reset, close, deadlines", .onEachRing)
struct ResetTests {
  private func stepped(
    depth: Int = 16, deadline: UInt64 = 30_000_000_000,
    edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
      edit(&$0)
    } options: {
      $0.depth = depth
      $0.deadlineNanoseconds = deadline
    }
  }

  private func submit(
    _ bench: Bench, _ queue: inout Queue, bios: Int, tag: UInt64, write: Bool = false
  ) throws {
    let buffer = try bench.buffer(512 * bios)
    let submission =
      write
      ? queue.submitWrite(at: 0, from: buffer, tag: tag, durable: true)
      : queue.submitRead(at: 0, into: buffer, tag: tag)
    guard case .queued = submission else {
      Issue.record("not queued")
      return
    }
  }

  private func collect(_ queue: inout Queue, polls: Int = 10) -> [Summary] {
    var found: [Summary] = []
    for _ in 0..<polls {
      while let done = queue.nextSummary() { found.append(done) }
    }
    return found
  }

  /// The device works again: a read on the same queue succeeds.
  private func expectWorking(_ bench: Bench, _ queue: inout Queue) throws {
    try submit(bench, &queue, bios: 1, tag: 1000)
    queue.kick()
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let done = collect(&queue)
    #expect(done == [Summary(tag: 1000, byteCount: 512, code: nil, hasBuffer: true)])
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T37 reset-in-flight: k of n reaped, the others end with reset, once", arguments: 0...4)
  func resetInFlight(reaped: Int) throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    for tag in 0..<4 as Range<UInt64> { try submit(bench, &queue, bios: 1, tag: tag) }
    queue.kick()
    for handle in bench.disk.fetchAll().prefix(reaped) { try bench.disk.complete(handle) }
    var done = collect(&queue, polls: 1)
    #expect(done.count == reaped && done.allSatisfy { $0.code == nil })
    bench.device.reset()
    done += collect(&queue)
    #expect(done.map(\.tag).sorted() == [0, 1, 2, 3])
    #expect(done.dropFirst(reaped).allSatisfy { $0.code == .reset && $0.hasBuffer })
    #expect(bench.disk.dmaFaults.isEmpty)
    try expectWorking(bench, &queue)
  }

  @Test("T37 reset-in-flight: a cursor, a durable, a stalled and an unaligned one all end once")
  func resetEverything() throws {
    for completed in 0...8 {
      let bench = try stepped(depth: 8)
      var queue = try bench.device.makeQueue()
      try submit(bench, &queue, bios: 4, tag: 0)
      try submit(bench, &queue, bios: 1, tag: 1, write: true)
      let part = try bench.buffer(100)
      guard case .queued = queue.submitWrite(at: 4100, from: part, tag: 2) else { return }
      let same = try bench.buffer(100)
      guard case .queued = queue.submitWrite(at: 4200, from: same, tag: 3) else { return }
      try submit(bench, &queue, bios: 30, tag: 4)
      queue.kick()
      var done: [Summary] = []
      var left = completed
      for _ in 0..<20 where left > 0 {
        for handle in bench.disk.fetchAll().prefix(left) {
          try bench.disk.complete(handle)
          left -= 1
        }
        done += collect(&queue, polls: 1)
      }
      bench.device.reset()
      done += collect(&queue)
      #expect(done.map(\.tag).sorted() == [0, 1, 2, 3, 4], "after \(completed) completions")
      #expect(done.allSatisfy { $0.hasBuffer })
      try expectWorking(bench, &queue)
    }
  }

  @Test("T39 reset before the kick: what was never published ends too")
  func resetBeforeKick() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    try submit(bench, &queue, bios: 3, tag: 1)
    bench.device.reset()
    queue.kick()
    #expect(bench.disk.counters(queue: 0).kicks == 0)
    let done = collect(&queue)
    #expect(done == [Summary(tag: 1, byteCount: 0, code: .reset, hasBuffer: true)])
    try expectWorking(bench, &queue)
  }

  @Test("T40 close-with-inflight: drained, then refused; the completions can still be taken")
  func closeInFlight() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    for tag in 0..<16 as Range<UInt64> {
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: tag) else {
        return
      }
    }
    queue.close()
    guard case .refused(.closed, _) = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 99)
    else {
      Issue.record("a closed queue accepted work")
      return
    }
    let done = collect(&queue)
    #expect(done.map(\.tag) == Array(0..<16) && done.allSatisfy { $0.code == nil })
  }

  @Test("T40 close-with-inflight: a queue that dies with work in flight gives every buffer back")
  func dropInFlight() throws {
    let bench = try stepped(deadline: 30_000_000)
    do {
      var queue = try bench.device.makeQueue()
      for tag in 0..<8 as Range<UInt64> { try submit(bench, &queue, bios: 2, tag: tag) }
      queue.kick()
      #expect(bench.device.memory.buffersOut == 8)
    }
    #expect(bench.device.memory.buffersOut == 0)
    var again = try bench.device.makeQueue()
    try expectWorking(bench, &again)
  }

  @Test("a closed device refuses queues and submissions, and ends what is in flight with closed")
  func closedDevice() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    try submit(bench, &queue, bios: 1, tag: 5)
    queue.kick()
    let buffer = try bench.buffer(512)
    bench.device.close()
    let done = collect(&queue)
    #expect(done == [Summary(tag: 5, byteCount: 0, code: .closed, hasBuffer: true)])
    guard case .refused(.closed, _) = queue.submitRead(at: 0, into: buffer, tag: 6) else {
      Issue.record("a closed device accepted work")
      return
    }
    #expect(throws: VBlkError.self) { _ = try bench.device.makeQueue() }
    let flushed = queue.submitFlush(tag: 1)
    #expect(flushed == .refused(.closed))
  }

  @Test("T41 needs-reset-bit: in flight ends by a reset, and the device works again")
  func needsReset() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    try submit(bench, &queue, bios: 2, tag: 1)
    queue.kick()
    bench.disk.needsReset()
    let done = pollUntilDone(&queue)
    #expect(done?.code == .reset)
    try expectWorking(bench, &queue)
  }

  @Test("T42 device-never-completes: the deadline resets the device, then the buffer comes back")
  func neverCompletes() throws {
    let bench = try stepped(deadline: 40_000_000)
    var queue = try bench.device.makeQueue()
    try submit(bench, &queue, bios: 2, tag: 1)
    queue.kick()
    let done = pollUntilDone(&queue)
    #expect(done == Summary(tag: 1, byteCount: 0, code: .timedOut, hasBuffer: true))
    try expectWorking(bench, &queue)
  }

  @Test("T42 device-never-completes: a synchronous call throws after its deadline")
  func synchronousTimesOut() throws {
    let bench = try stepped(deadline: 40_000_000)
    var queue = try bench.device.makeQueue()
    var buffer = try bench.buffer(512)
    let first = code { () throws(VBlkError) in try queue.read(at: 0, into: &buffer) }
    #expect(first == .timedOut)
    let second = code { () throws(VBlkError) in try queue.flush() }
    #expect(second == .timedOut)
    let third = code { () throws(VBlkError) in _ = try queue.identify() }
    #expect(third == .timedOut)
    try expectWorking(bench, &queue)
  }

  @Test("T43 surprise-removal: all ones everywhere; each operation ends once, with removed")
  func surpriseRemoval() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    try submit(bench, &queue, bios: 2, tag: 1)
    queue.kick()
    bench.disk.remove()
    let done = pollUntilDone(&queue)
    #expect(done?.code == .removed)
    #expect(done?.hasBuffer == false, "the device never confirmed a reset: the memory stays out")
    guard
      case .refused(.removed, _) = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 2)
    else {
      Issue.record("a removed device accepted work")
      return
    }
  }

  @Test("several queues: a reset by one ends the work of all, and restarts when all have swept")
  func severalQueues() throws {
    let bench = try Bench {
      $0.mode = .stepped
      $0.queues = 3
    } options: {
      $0.queues = 3
    }
    var one = try bench.device.makeQueue()
    var two = try bench.device.makeQueue()
    try submit(bench, &one, bios: 1, tag: 1)
    try submit(bench, &two, bios: 1, tag: 2)
    one.kick()
    two.kick()
    bench.device.reset()
    #expect(collect(&one).map(\.code) == [.reset])
    guard
      case .refused(.resetting, _) = one.submitRead(at: 0, into: try bench.buffer(512), tag: 3)
    else {
      Issue.record("the device runs before all have swept")
      return
    }
    #expect(collect(&two).map(\.code) == [.reset])
    try submit(bench, &one, bios: 1, tag: 4)
    try submit(bench, &two, bios: 1, tag: 5)
    one.kick()
    two.kick()
    for queue in 0..<2 { _ = bench.disk.serve(queue: queue) }
    #expect(collect(&one).map(\.code) == [nil])
    #expect(collect(&two).map(\.code) == [nil])
    _ = try bench.device.makeQueue()
  }

  @Test("a queue that does not sweep within a second is left out, and is back with the next reset")
  func leftOut() throws {
    let bench = try Bench {
      $0.mode = .stepped
      $0.queues = 2
    } options: {
      $0.queues = 2
    }
    var one = try bench.device.makeQueue()
    var two = try bench.device.makeQueue()
    try submit(bench, &two, bios: 1, tag: 2)
    two.kick()
    bench.device.reset()
    var works = false
    for _ in 0..<400_000_000 where !works {
      _ = one.next()
      works = !one.state.isStopped
    }
    #expect(works, "queue 0 never came back")
    #expect(collect(&two).map(\.code) == [.reset])
    guard
      case .refused(_, _) = two.submitRead(at: 0, into: try bench.buffer(512), tag: 3)
    else {
      Issue.record("a queue that was left out accepted work")
      return
    }
    bench.device.reset()
    _ = collect(&one)
    _ = collect(&two)
    try submit(bench, &two, bios: 1, tag: 4)
    two.kick()
    _ = bench.disk.serve(queue: 1)
    #expect(collect(&two).map(\.code) == [nil])
  }

  /// Polls until a completion comes, for as long as a deadline of some milliseconds may take.
  private func pollUntilDone(_ queue: inout Queue) -> Summary? {
    queue.nextSummary(100_000_000)
  }

  private func code(_ body: () throws(VBlkError) -> Void) -> VBlkError.Code? {
    do throws(VBlkError) {
      try body()
      return nil
    } catch {
      return error.code
    }
  }
}
