import Glibc
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Whether a read of the descriptor would not block, now.
func isReadable(_ descriptor: CInt) -> Bool {
  var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  return poll(&waiting, 1, 0) == 1
}

extension Queue {
  /// The next completion, waited for; its buffer has gone back to its arena.
  fileprivate mutating func wait(_ policy: WaitPolicy, _ nanoseconds: UInt64) -> Ended? {
    guard let done = next(waiting: policy, forNanoseconds: nanoseconds) else { return nil }
    let hasBuffer: Bool
    if case .some = done.buffer { hasBuffer = true } else { hasBuffer = false }
    return Ended(tag: done.tag, result: done.result, hasBuffer: hasBuffer)
  }
}

/// Waiting for completions, busy, adaptive or asleep, by MSI-X and by the interrupt line.
@Suite("Wait policies", .serialized, .onEachRing)
struct WaitPolicyTests {
  struct Way: CustomTestStringConvertible, Sendable {
    let policy: WaitPolicy
    let vectors: Int?

    var testDescription: String { "\(policy.rawValue), \(vectors == nil ? "MSI-X" : "INTx")" }

    static let all = WaitPolicy.allCases.flatMap {
      [Way(policy: $0, vectors: nil), Way(policy: $0, vectors: 0)]
    }
  }

  @Test("each operation comes, from a device on a thread of its own", arguments: Way.all)
  func threaded(way: Way) throws {
    let bench = try Bench {
      $0.mode = .threaded
      $0.interruptVectors = way.vectors
    } options: {
      $0.interrupts = way.policy.needsInterrupts
    }
    var queue = try bench.device.makeQueue()
    for tag in 0..<300 as Range<UInt64> {
      let count = 1 + tag % 3
      for part in 0..<count {
        let buffer = try bench.buffer(512)
        guard case .queued = queue.submitRead(at: 0, into: buffer, tag: tag * 4 + part) else {
          Issue.record("not queued")
          return
        }
      }
      var seen: Set<UInt64> = []
      for _ in 0..<count {
        guard let done = queue.next(waiting: way.policy, forNanoseconds: 10_000_000_000) else {
          Issue.record("nothing came of \(tag)")
          return
        }
        seen.insert(done.tag)
        #expect(done.result == IOResult(success: 512))
      }
      #expect(seen == Set((0..<count).map { tag * 4 + $0 }))
    }
    #expect(queue.statistics.violations == 0)
  }

  @Test("nothing in flight: nil at once; nothing coming: nil when the time is over")
  func limits() throws {
    for policy in WaitPolicy.allCases {
      let bench = try Bench {
        $0.mode = .stepped
      } options: {
        $0.interrupts = true
      }
      var queue = try bench.device.makeQueue()
      var start = bench.device.now()
      let none = queue.wait(policy, 60_000_000_000)
      #expect(none == nil)
      #expect(bench.device.now() - start < 10_000_000_000)
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
        return
      }
      start = bench.device.now()
      let late = queue.wait(policy, 30_000_000)
      #expect(late == nil)
      #expect(bench.device.now() - start >= 30_000_000)
      #expect(bench.disk.available(queue: 0) == 1, "it was kicked")
      bench.disk.serve(queue: 0)
      let done = queue.wait(policy, 30_000_000)
      #expect(done == Ended(tag: 1, bytes: 512))
    }
  }

  @Test("deadlines are kept by a queue that sleeps")
  func deadline() throws {
    for policy in WaitPolicy.allCases {
      let bench = try Bench {
        $0.mode = .stepped
      } options: {
        $0.interrupts = true
        $0.deadlineNanoseconds = 50_000_000
      }
      var queue = try bench.device.makeQueue()
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
        return
      }
      let done = queue.wait(policy, 20_000_000_000)
      #expect(done == Ended(tag: 1, code: .timedOut), "\(policy)")
    }
  }

  @Test("an adaptive wait polls longer after short waits, and shorter after long ones")
  func learning() throws {
    let bench = try Bench {
      $0.mode = .stepped
    } options: {
      $0.interrupts = true
    }
    var queue = try bench.device.makeQueue()
    let shortest = queue.state.spinNanoseconds
    queue.learn(waited: 100_000)
    queue.learn(waited: 100_000)
    #expect(queue.state.spinNanoseconds == 4 * shortest)
    for _ in 0..<20 { queue.learn(waited: 100_000) }
    #expect(queue.state.spinNanoseconds == 200_000)
    for _ in 0..<20 { queue.learn(waited: 10_000_000) }
    #expect(queue.state.spinNanoseconds == shortest)
  }

  @Test("sleeping on a device without interrupts is a mistake of the programmer's")
  func withoutInterrupts() async {
    await #expect(processExitsWith: .failure) {
      let bench = try Bench()
      var queue = try bench.device.makeQueue()
      _ = queue.next(waiting: .interrupt, forNanoseconds: 1)
    }
  }
}
