import CHostIO
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// The device on a thread of its own: what the barriers of the ring are for.
@Suite("Threaded device", .serialized, .onEachRing)
struct ThreadedTests {
  @Test(
    "T15 submitter against the device's thread: each read brings what was written, depth 1 to 32",
    arguments: [1, 2, 32], [true, false])
  func readBack(depth: Int, eventIndex: Bool) throws {
    let bench = try Bench(bytes: 1 << 20) {
      $0.mode = .threaded
      if !eventIndex { $0.withheld.insert(.eventIndex) }
    } options: {
      $0.depth = 64
    }
    var queue = try bench.device.makeQueue()
    try fill(bench, &queue)
    let rounds: UInt64 = 1_000
    var submitted: UInt64 = 0
    var ended: UInt64 = 0
    var polls = 0
    while ended < rounds, polls < 400_000_000 {
      polls += 1
      while submitted < rounds, submitted - ended < UInt64(depth) {
        let block = submitted &* 2_654_435_761 % 2048
        let buffer = try bench.buffer(512)
        guard case .queued = queue.submitRead(at: block * 512, into: buffer, tag: block)
        else {
          Issue.record("refused at \(submitted)")
          return
        }
        submitted += 1
      }
      queue.kick()
      guard let done = queue.next() else {
        if polls & 255 == 0 { chio_yield() }
        continue
      }
      ended += 1
      let tag = done.tag
      let result = done.result
      let bytes = done.buffer?.contents ?? []
      guard result == IOResult(success: 512), bytes.allSatisfy({ $0 == UInt8(tag & 255) }) else {
        Issue.record("block \(tag): \(result), \(bytes.prefix(4))")
        return
      }
    }
    #expect(ended == rounds)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  /// Each block holds the low byte of its number.
  private func fill(_ bench: Bench, _ queue: inout Queue) throws {
    let all = try bench.buffer(1 << 20) { UInt8(truncatingIfNeeded: $0 >> 9) }
    let written = try queue.write(at: 0, from: all, durable: true)
    #expect(written == 1 << 20)
  }

  @Test("unaligned writes from two threads, a queue each, leave every byte as one of them wrote it")
  func twoThreads() async throws {
    let bench = try Bench(bytes: 64 << 10) {
      $0.mode = .threaded
      $0.queues = 2
    } options: {
      $0.queues = 2
    }
    async let even: Void = write(bench, parity: 0)
    async let odd: Void = write(bench, parity: 1)
    _ = try await (even, odd)
    var queue = try bench.device.makeQueue()
    var whole = try bench.buffer(64 << 10)
    try queue.read(at: 0, into: &whole)
    let bytes = whole.contents
    let right = bytes.indices.allSatisfy { bytes[$0] == UInt8($0 / 64 % 2 + 1) }
    #expect(right)
  }

  /// Writes every second run of 64 bytes, so that both threads change every block.
  private func write(_ bench: Bench, parity: Int) async throws {
    var queue = try bench.device.makeQueue()
    let data = try bench.buffer(64) { _ in UInt8(parity + 1) }
    for run in stride(from: parity, to: 1024, by: 2) {
      try queue.write(at: UInt64(run * 64), from: data)
    }
  }
}
