import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Durable writes of one queue: DATA, then FLUSH, then one notification (facts §3.4).
@Suite("Durable writes", .onEachRing)
struct DurableTests {
  private func bench(_ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }) throws
    -> Bench
  {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
      change(&$0)
    } options: {
      $0.depth = 8
    }
  }

  /// Types of the requests that the device has been given.
  private func fetch(_ bench: Bench) throws -> [(RequestHandle, UInt32)] {
    try bench.disk.fetchAll().map { ($0, try bench.disk.describe($0).type) }
  }

  @Test("T58 dsync-order: FLUSH after all data, the completion after FLUSH", arguments: 1...4)
  func order(bios: Int) throws {
    for order in permutations(Array(0..<bios)) {
      let bench = try bench()
      var queue = try bench.device.makeQueue()
      guard
        case .queued = queue.submitWrite(
          at: 0, from: try bench.buffer(512 * bios), tag: 1, durable: true)
      else {
        Issue.record("not queued")
        return
      }
      queue.kick()
      let data = try fetch(bench)
      #expect(data.map(\.1) == Array(repeating: RequestType.write.rawValue, count: bios))
      for (number, bio) in order.enumerated() {
        try bench.disk.complete(data[bio].0)
        let early = queue.next() == nil
        #expect(early)
        if number < bios - 1 { #expect(bench.disk.available(queue: 0) == 0, "\(order)") }
      }
      let flush = try fetch(bench)
      #expect(flush.map(\.1) == [RequestType.flush.rawValue], "\(order)")
      let early = queue.next() == nil
      #expect(early)
      for request in flush { try bench.disk.complete(request.0) }
      #expect(queue.nextSummary()?.byteCount == 512 * bios)
      let isOver = queue.next() == nil && queue.isAtRest
      #expect(isOver)
    }
  }

  @Test("T59 flush-fails: data written, FLUSH fails: the operation fails, once")
  func flushFails() throws {
    let bench = try bench { $0.faults = [FaultRule(.status(1), operations: [.flush])] }
    let code = try writeDurably(bench, flushes: 1)
    #expect(code == .ioError)
  }

  @Test("T60 no-volatile-cache: without FLUSH, or write-through, no FLUSH is sent")
  func writeThrough() throws {
    let without = try bench { $0.withheld.insert(.flush) }
    #expect(try writeDurably(without, flushes: 0) == nil)
    let through = try bench { $0.writeback = false }
    #expect(try writeDurably(through, flushes: 0) == nil)
  }

  @Test("T61 data-error-then-flush: failed data is not flushed", arguments: 0..<3)
  func dataFails(failing: UInt64) throws {
    let bench = try bench {
      $0.faults = [FaultRule(.status(1), sectors: failing..<failing + 1)]
    }
    #expect(try writeDurably(bench, flushes: 0) == .ioError)
  }

  @Test("T62 dsync-raced: data all done when it is first looked at, FLUSH all the same")
  func raced() throws {
    #expect(try writeDurably(try bench(), flushes: 1) == nil)
  }

  /// Writes three bios durably on a device that completes all it is given at once.
  private func writeDurably(_ bench: Bench, flushes: Int) throws -> VBlkError.Code? {
    var queue = try bench.device.makeQueue()
    guard
      case .queued = queue.submitWrite(at: 0, from: try bench.buffer(1536), tag: 1, durable: true)
    else {
      Issue.record("not queued")
      return nil
    }
    queue.kick()
    var seen = 0
    var ended: [VBlkError.Code?] = []
    for _ in 0..<20 {
      for (request, type) in try fetch(bench) {
        if type == RequestType.flush.rawValue { seen += 1 }
        try bench.disk.complete(request)
      }
      if let done = queue.nextSummary() { ended.append(done.code) }
    }
    #expect(seen == flushes && ended.count == 1)
    let atRest = queue.isAtRest
    #expect(atRest)
    return ended.first ?? nil
  }
}
