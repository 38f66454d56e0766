import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// The completion rows of facts §3.1 that one queue can show, on the stepped emulator: the test
/// decides when the device acts. A dio of N bios is made by one block a bio (seg_max 1, size_max
/// one block).
@Suite("Completion, one queue", .onEachRing)
struct CompletionTests {
  /// A stepped disk on which each block of an operation is a bio of its own.
  func stepped(depth: Int = 16, edit: (inout EmulatedDisk.Configuration) -> Void = { _ in })
    throws -> Bench
  {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
      edit(&$0)
    } options: {
      $0.depth = depth
    }
  }

  @Test("T01 async-one-bio")
  func asyncOneBio() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(512)
    guard case .queued = queue.submitRead(at: 0, into: buffer, tag: 9) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    for _ in 0..<2 {
      let early = queue.next() != nil
      #expect(!early)
    }
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let done = queue.nextSummary()
    #expect(done == Summary(tag: 9, byteCount: 512, code: nil, hasBuffer: true))
    #expect(queue.statistics.kicks == 1)
    let again = queue.next() != nil
    #expect(!again)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T02 complete-inside-kick", arguments: 1...8)
  func completeInsideKick(bios: Int) throws {
    let bench = try Bench {
      $0.segMax = 1
      $0.sizeMax = 512
    }
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(512 * bios)
    guard case .queued = queue.submitWrite(at: 0, from: buffer, tag: 1) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    #expect(bench.disk.counters(queue: 0).requests == UInt64(bios))
    let done = queue.nextSummary()
    #expect(done == Summary(tag: 1, byteCount: 512 * bios, code: nil, hasBuffer: true))
    let again = queue.next() != nil
    #expect(!again)
  }

  @Test("T06 last-finisher-error", arguments: 1...4)
  func lastFinisherError(bios: Int) throws {
    for failing in 0..<bios {
      let bench = try stepped {
        $0.faults = [FaultRule(.status(1), sectors: UInt64(failing)..<UInt64(failing + 1))]
      }
      var queue = try bench.device.makeQueue()
      let done = try complete(bench, &queue, bios: bios) { handles in
        var order = handles
        order.append(order.remove(at: failing))
        return order
      }
      #expect(done?.code == .ioError, "bio \(failing) of \(bios)")
      #expect(done?.byteCount == 0)
    }
  }

  @Test("T07 first-error-wins")
  func firstErrorWins() throws {
    for order in permutations([0, 1, 2]) {
      let bench = try stepped {
        $0.faults = [
          FaultRule(.status(1), sectors: 0..<1), FaultRule(.status(2), sectors: 1..<2),
        ]
      }
      var queue = try bench.device.makeQueue()
      let done = try complete(bench, &queue, bios: 3) { handles in order.map { handles[$0] } }
      let first = order.first { $0 < 2 }
      #expect(done?.code == (first == 0 ? .ioError : .unsupported), "order \(order)")
    }
  }

  @Test("T08 ith-bio-error", arguments: 0..<4)
  func ithBioError(failing: Int) throws {
    for order in permutations([0, 1, 2, 3]) {
      let bench = try stepped {
        $0.faults = [FaultRule(.status(1), sectors: UInt64(failing)..<UInt64(failing + 1))]
      }
      var queue = try bench.device.makeQueue()
      let done = try complete(bench, &queue, bios: 4) { handles in order.map { handles[$0] } }
      #expect(
        done == Summary(tag: 5, byteCount: 0, code: .ioError, hasBuffer: true), "order \(order)")
    }
  }

  /// Submits a read of `bios` blocks, completes its bios in the given order with a poll after each,
  /// and demands exactly one completion, not before the last.
  private func complete(
    _ bench: Bench, _ queue: inout Queue, bios: Int,
    order: ([RequestHandle]) -> [RequestHandle]
  ) throws -> Summary? {
    let buffer = try bench.buffer(512 * bios)
    guard case .queued = queue.submitRead(at: 0, into: buffer, tag: 5) else {
      Issue.record("not queued")
      return nil
    }
    queue.kick()
    let handles = bench.disk.fetchAll()
    #expect(handles.count == bios)
    var found: Summary?
    for (index, handle) in order(handles).enumerated() {
      try bench.disk.complete(handle)
      let done = queue.nextSummary()
      #expect((done != nil) == (index == bios - 1))
      found = done
    }
    let atRest = queue.isAtRest
    #expect(atRest)
    return found
  }

  @Test("T12 callback-resubmits: 10^6 times from a next() loop, the device inside the kick")
  func callbackResubmits() throws {
    let bench = try Bench(bytes: 1 << 20)
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 0) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    var rounds: UInt64 = 0
    var polls = 0
    while rounds < 1_000_000, polls < 4_000_000 {
      polls += 1
      guard let done = queue.next() else {
        queue.kick()
        continue
      }
      rounds += 1
      guard let buffer = done.buffer,
        case .queued = queue.submitRead(at: rounds & 1023 << 9, into: buffer, tag: rounds)
      else {
        Issue.record("round \(rounds) was not queued")
        return
      }
    }
    #expect(rounds == 1_000_000)
  }

  @Test("T12a late-failure-after-queued: a failing FLUSH comes in the completion, once")
  func lateFailure() throws {
    let bench = try stepped {
      $0.faults = [FaultRule(.status(1), operations: [.flush])]
    }
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(512)
    guard case .queued = queue.submitWrite(at: 0, from: buffer, tag: 3, durable: true) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let early = queue.next() != nil
    #expect(!early, "the write is done, its FLUSH is not")
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let done = queue.nextSummary()
    #expect(done == Summary(tag: 3, byteCount: 0, code: .ioError, hasBuffer: true))
    let again = queue.next() != nil
    #expect(!again)
  }

  @Test("T13 error-stops-submission: a cursor stops refilling after the first error")
  func errorStopsSubmission() throws {
    let bench = try stepped(depth: 4) {
      $0.faults = [FaultRule(.status(1), sectors: 0..<1)]
    }
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(512 * 16)
    guard case .queued = queue.submitRead(at: 0, into: buffer, tag: 1) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    let handles = bench.disk.fetchAll()
    #expect(handles.count == 4)
    for handle in handles { try bench.disk.complete(handle) }
    let done = queue.nextSummary(100)
    #expect(done?.code == .ioError)
    #expect(bench.disk.fetchAll().isEmpty, "nothing was issued after the error")
    #expect(queue.statistics.requests == 4)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T14 drain-completes-others: a synchronous call keeps their completions, in order")
  func drainCompletesOthers() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    for tag in 0..<5 as Range<UInt64> {
      guard case .queued = queue.submitRead(at: tag * 512, into: try bench.buffer(512), tag: tag)
      else {
        Issue.record("not queued")
        return
      }
    }
    var own = try bench.buffer(512)
    try queue.read(at: 0, into: &own)
    var tags: [UInt64] = []
    while let done = queue.next() { tags.append(done.tag) }
    #expect(tags == [0, 1, 2, 3, 4])
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("rule 9: a kept completion holds its credit, not its slot", arguments: [1, 2, 4])
  func keptHoldsCredit(depth: Int) throws {
    let bench = try Bench(options: { $0.depth = depth })
    var queue = try bench.device.makeQueue()
    for tag in 0..<UInt64(depth) {
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: tag) else {
        Issue.record("not queued")
        return
      }
    }
    var own = try bench.buffer(4096)
    for _ in 0..<3 { try queue.read(at: 0, into: &own) }
    // All credits are held by kept completions: busy until one is delivered, then exactly one.
    for _ in 0..<depth {
      guard case .refused(.busy, _) = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 77)
      else {
        Issue.record("expected busy")
        return
      }
      let delivered = queue.next() != nil
      #expect(delivered)
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 78) else {
        Issue.record("one delivered completion guarantees one submit")
        return
      }
      try queue.read(at: 0, into: &own)
    }
    queue.kick()
    var left = 0
    while queue.nextWithin(100) != nil { left += 1 }
    #expect(left == depth)
    let atRest = queue.isAtRest
    #expect(atRest)
  }
}

/// What a test asserts about a completion.
struct Summary: Equatable {
  var tag: UInt64
  var byteCount: Int
  var code: VBlkError.Code?
  var hasBuffer: Bool
}

extension Queue {
  /// The summary of the next completion, after at most `polls` polls.
  mutating func nextSummary(_ polls: Int = 1) -> Summary? {
    for _ in 0..<polls {
      if let done = next() { return done.summary }
    }
    return nil
  }
}

extension Completion {
  /// The completion in a form that can be compared; its buffer goes back to the arena.
  var summary: Summary {
    consuming get {
      Summary(
        tag: tag, byteCount: result.byteCount, code: result.code,
        hasBuffer: buffer != nil || segments != nil)
    }
  }
}
