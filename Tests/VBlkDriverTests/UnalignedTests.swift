import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Rows T52-T57 of facts §3.3: partly written blocks.
@Suite("Unaligned ranges", .onEachRing)
struct UnalignedTests {
  private func stepped(faults: [FaultRule] = []) throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.faults = faults
    }
  }

  /// Completes everything until the queue rests; the completions' summaries in order.
  private func run(
    _ bench: Bench, _ queue: inout Queue, order: ([RequestHandle]) -> [RequestHandle] = { $0 }
  ) throws -> [Summary] {
    var found: [Summary] = []
    for _ in 0..<50 {
      queue.kick()
      for handle in order(bench.disk.fetchAll()) { try bench.disk.complete(handle) }
      while let done = queue.nextSummary() { found.append(done) }
    }
    return found
  }

  @Test("T52 head-middle-tail: one dio, one result, the three parts in all orders")
  func headMiddleTail() throws {
    for order in permutations([0, 1, 2]) {
      let bench = try stepped()
      var queue = try bench.device.makeQueue()
      let data = try bench.buffer(1400) { UInt8(truncatingIfNeeded: $0) }
      let expected = data.contents
      guard case .queued = queue.submitWrite(at: 700, from: data, tag: 4) else {
        Issue.record("not queued")
        return
      }
      let done = try run(bench, &queue) { handles in
        handles.count == 3 ? order.map { handles[$0] } : handles
      }
      #expect(done == [Summary(tag: 4, byteCount: 1400, code: nil, hasBuffer: true)])
      let disk = try contents(bench, &queue, 0..<4096)
      #expect(Array(disk[700..<2100]) == expected, "order \(order)")
      #expect(disk[..<700].allSatisfy { $0 == 0 } && disk[2100...].allSatisfy { $0 == 0 })
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("T52 head-middle-tail: each part failing, in all orders", arguments: 0..<3)
  func partFails(part: UInt64) throws {
    for order in permutations([0, 1, 2]) {
      // Blocks 1 (head), 2-3 (middle), 4 (tail); the middle's request starts at sector 2.
      let sector = [1, 2, 4][Int(part)]
      let bench = try stepped(faults: [
        FaultRule(.status(1), sectors: UInt64(sector)..<UInt64(sector + 1))
      ])
      var queue = try bench.device.makeQueue()
      guard case .queued = queue.submitWrite(at: 700, from: try bench.buffer(1400), tag: 4) else {
        Issue.record("not queued")
        return
      }
      let done = try run(bench, &queue) { handles in
        handles.count == 3 ? order.map { handles[$0] } : handles
      }
      #expect(done == [Summary(tag: 4, byteCount: 0, code: .ioError, hasBuffer: true)])
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("T53 two-unaligned-same-block: both halves survive")
  func sameBlock() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    for part in 0..<4 {
      let buffer = try bench.buffer(128) { _ in UInt8(part + 1) }
      guard
        case .queued = queue.submitWrite(at: UInt64(part * 128), from: buffer, tag: UInt64(part))
      else {
        Issue.record("not queued")
        return
      }
    }
    let done = try run(bench, &queue)
    #expect(done.map(\.tag) == [0, 1, 2, 3], "in order of submission")
    let disk = try contents(bench, &queue, 0..<512)
    let expected = (0..<512).map { UInt8($0 / 128 + 1) }
    #expect(disk == expected)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T53 two-unaligned-same-block: from two queues of one device")
  func sameBlockTwoQueues() throws {
    let bench = try Bench {
      $0.mode = .stepped
      $0.queues = 2
    } options: {
      $0.queues = 2
    }
    var one = try bench.device.makeQueue()
    var other = try bench.device.makeQueue()
    let low = try bench.buffer(256) { _ in 1 }
    let high = try bench.buffer(256) { _ in 2 }
    guard case .queued = one.submitWrite(at: 0, from: low, tag: 1),
      case .queued = other.submitWrite(at: 256, from: high, tag: 2)
    else {
      Issue.record("not queued")
      return
    }
    var done = 0
    for _ in 0..<50 {
      one.kick()
      other.kick()
      _ = bench.disk.serve(queue: 0)
      _ = bench.disk.serve(queue: 1)
      if one.next() != nil { done += 1 }
      if other.next() != nil { done += 1 }
    }
    #expect(done == 2)
    var whole = try bench.buffer(512)
    guard case .queued = one.submitRead(at: 0, into: whole, tag: 3) else { return }
    one.kick()
    _ = bench.disk.serve(queue: 0)
    guard let end = one.next(), let buffer = end.buffer else {
      Issue.record("the read did not end")
      return
    }
    whole = buffer
    let bytes = whole.contents
    let expected = [UInt8](repeating: 1, count: 256) + [UInt8](repeating: 2, count: 256)
    #expect(bytes == expected)
  }

  @Test("T54 unaligned-then-aligned-overlap: no resurrected bytes, in either order")
  func alignedOverlap() throws {
    for unalignedFirst in [true, false] {
      let bench = try stepped()
      var queue = try bench.device.makeQueue()
      let part = try bench.buffer(100) { _ in 1 }
      let whole = try bench.buffer(512) { _ in 2 }
      if unalignedFirst {
        guard case .queued = queue.submitWrite(at: 50, from: part, tag: 1),
          case .queued = queue.submitWrite(at: 0, from: whole, tag: 2)
        else { return }
      } else {
        guard case .queued = queue.submitWrite(at: 0, from: whole, tag: 2),
          case .queued = queue.submitWrite(at: 50, from: part, tag: 1)
        else { return }
      }
      let done = try run(bench, &queue) { $0.reversed() }
      #expect(done.count == 2)
      let disk = try contents(bench, &queue, 0..<512)
      let inside = unalignedFirst ? UInt8(2) : 1
      let expected = (0..<512).map { (50..<150).contains($0) ? inside : 2 }
      #expect(disk == expected, "unaligned first: \(unalignedFirst)")
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("T56 rmw-read-fails: no write of that block is issued, the error is the result")
  func readFails() throws {
    let bench = try stepped(faults: [FaultRule(.status(1), operations: [.read], sectors: 1..<2)])
    bench.disk.setTracing(true)
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitWrite(at: 700, from: try bench.buffer(100), tag: 4) else {
      return
    }
    let done = try run(bench, &queue)
    #expect(done == [Summary(tag: 4, byteCount: 0, code: .ioError, hasBuffer: true)])
    #expect(!bench.disk.trace.contains { $0.requestType == RequestType.write.rawValue })
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T57 bounce-exhausted: waits, in order, and every operation ends", arguments: [1, 2])
  func bounceExhausted(blocks: Int) throws {
    let bench = try Bench {
      $0.mode = .stepped
    } options: {
      $0.bounceBlocks = blocks
    }
    var queue = try bench.device.makeQueue()
    for tag in 0..<6 as Range<UInt64> {
      let buffer = try bench.buffer(1400) { _ in UInt8(tag + 1) }
      guard case .queued = queue.submitWrite(at: tag * 2048 + 700, from: buffer, tag: tag) else {
        Issue.record("not queued")
        return
      }
    }
    let done = try run(bench, &queue)
    #expect(done.map(\.tag).sorted() == [0, 1, 2, 3, 4, 5])
    #expect(done.allSatisfy { $0.code == nil })
    let disk = try contents(bench, &queue, 0..<12_800)
    try #require(disk.count == 12_800)
    for tag in 0..<6 {
      let range = (tag * 2048 + 700)..<(tag * 2048 + 2100)
      #expect(disk[range].allSatisfy { $0 == UInt8(tag + 1) })
    }
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  /// The disk's bytes, read by the queue under test with the device stepped along.
  private func contents(
    _ bench: Bench, _ queue: inout Queue, _ range: Range<Int>
  ) throws -> [UInt8] {
    guard
      case .queued = queue.submitRead(
        at: UInt64(range.lowerBound), into: try bench.buffer(range.count), tag: 0)
    else { return [] }
    queue.kick()
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    guard let done = queue.nextWithin(10), let buffer = done.buffer else { return [] }
    return buffer.contents
  }
}
