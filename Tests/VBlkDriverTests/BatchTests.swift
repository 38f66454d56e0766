import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// `poll(max:_:)` ends what `next()` ends, each operation once, whatever the batch is made of.
@Suite("Polling in batches", .onEachRing)
struct BatchTests {
  /// A stepped disk of blocks of 512 bytes, some of which fail; more than two segments of 1 KiB are
  /// several bios.
  private func stepped() throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 2
      $0.sizeMax = 1024
      $0.queueSize = 64
      $0.faults = [
        FaultRule(.status(1), sectors: 80..<144), FaultRule(.status(1), sectors: 640..<700),
      ]
    } options: {
      $0.depth = 16
    }
  }

  /// What becomes of `count` operations of every kind, submitted and completed by the device in
  /// the order of `random`, and taken by `take`.
  private func outcome(
    seed: UInt64, take: (inout VBlkDriver.Queue, (consuming Completion) -> Void) -> Void
  ) throws -> [Summary] {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    var random = Seeded(seed)
    var found: [Summary] = []
    var accepted = 0
    var next: UInt64 = 0
    while found.count < 200 {
      for _ in 0..<Int.random(in: 0...6, using: &random) where next < 200 {
        let kind = Int.random(in: 0..<8, using: &random)
        let queued = try submit(kind, next, &queue, bench)
        accepted += queued ? 1 : 0
        next += queued ? 1 : 0
      }
      queue.kick()
      for handle in bench.disk.fetchAll().shuffled(using: &random) {
        try bench.disk.complete(handle)
      }
      for _ in 0..<3 { take(&queue) { found.append($0.summary) } }
      let inFlight = accepted - found.count
      #expect(inFlight >= 0, "seed \(seed)")
    }
    let atRest = queue.isAtRest
    #expect(atRest, "seed \(seed)")
    return found
  }

  /// One operation; false where there was no slot for it.
  private func submit(
    _ kind: Int, _ tag: UInt64, _ queue: inout VBlkDriver.Queue, _ bench: Bench
  ) throws -> Bool {
    let size = [512, 512, 1024, 1024, 700, 4096, 512, 2048][kind]
    let offset = tag % 64 * 8192
    switch kind {
    case 6:
      if case .queued = queue.submitFlush(tag: tag) { return true }
      return false
    case 7:
      var list = SegmentList(segmentCapacity: 2)
      for _ in 0..<2 { list.append(try bench.buffer(1024)) }
      if case .queued = queue.submitRead(at: offset, into: list, tag: tag) { return true }
      return false
    default:
      let buffer = try bench.buffer(size)
      if kind % 2 == 0 {
        if case .queued = queue.submitRead(at: offset, into: buffer, tag: tag) { return true }
      } else {
        if case .queued = queue.submitWrite(at: offset, from: buffer, tag: tag) { return true }
      }
      return false
    }
  }

  @Test("a batch of any size ends what next() ends, in the same order", arguments: 1...8)
  func equalsNext(seed: UInt64) throws {
    let one = try outcome(seed: seed) { queue, body in
      while let done = queue.next() { body(done) }
    }
    #expect(Set(one.map(\.tag)).count == 200, "each once")
    #expect(one.contains { $0.code == .ioError } && one.contains { $0.code == nil })
    for limit in [1, 2, 3, 7, Int.max] {
      let many = try outcome(seed: seed) { queue, body in
        while true {
          var handed = 0
          let count = queue.poll(max: limit) {
            handed += 1
            body($0)
          }
          #expect(handed == count && count <= limit, "seed \(seed)")
          if count == 0 { break }
        }
      }
      #expect(many == one, "seed \(seed), batches of \(limit)")
    }
  }

  @Test("a limit leaves the rest for the next call, and none hands over nothing")
  func limit() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    for tag in 0..<10 as Range<UInt64> {
      guard case .queued = queue.submitRead(at: tag * 512, into: try bench.buffer(512), tag: tag)
      else {
        Issue.record("not queued")
        return
      }
    }
    queue.kick()
    var tags: [UInt64] = []
    #expect(queue.poll(max: 0) { _ in Issue.record("none was asked for") } == 0)
    #expect(queue.poll(max: 4) { tags.append($0.tag) } == 4)
    #expect(queue.poll { tags.append($0.tag) } == 6)
    #expect(queue.poll { _ in Issue.record("there is none left") } == 0)
    #expect(tags == Array(0..<10))
    #expect(queue.statistics.bytes == 5120)
  }

  @Test("a batch stops at a breach: what stood before is handed over, the rest ends once")
  func breach() throws {
    let bench = try Bench {
      $0.watchdog = false
      $0.hostility = .usedIDDuplicate
    }
    var queue = try bench.device.makeQueue()
    var results: [UInt64: [VBlkError.Code?]] = [:]
    for tag in 0..<16 as Range<UInt64> {
      guard case .queued = queue.submitRead(at: tag * 512, into: try bench.buffer(512), tag: tag)
      else {
        Issue.record("not queued")
        return
      }
    }
    queue.kick()
    for _ in 0..<100_000 where results.count < 16 {
      queue.poll { results[$0.tag, default: []].append($0.result.code) }
    }
    #expect(results.count == 16 && results.values.allSatisfy { $0.count == 1 })
    #expect(results.values.contains { $0 == [.protocolViolation] })
    #expect(queue.statistics.violations > 0)
  }
}
