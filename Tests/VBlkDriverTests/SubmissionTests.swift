import Glibc
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Rows T09-T11 and T17-T24 of facts §3.1, as §3.8 restates them.
@Suite("Submission, one queue", .onEachRing)
struct SubmissionTests {
  /// Registered memory of eight pages, the fifth of which is not there.
  private func holed(_ device: Device) throws -> RegisteredMemory {
    let count = 8 * 4096
    let base = try #require(
      mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    #expect(munmap(base + 4 * 4096, 4096) == 0)
    return try device.register(
      UnsafeMutableRawBufferPointer(start: base, count: count), holes: .allow)
  }

  @Test("T09 fault-at-first-page, T10 fault-at-page-k: refused, nothing published, nothing kicked")
  func faults() throws {
    let bench = try Bench()
    let memory = try holed(bench.device)
    var queue = try bench.device.makeQueue()
    for range in [4 * 4096..<5 * 4096, 0..<8 * 4096, 3 * 4096..<4 * 4096 + 512] {
      for write in [false, true] {
        let slice = try memory.slice(range)
        let submission =
          write
          ? queue.submitWrite(at: 0, from: slice, tag: 1)
          : queue.submitRead(at: 0, into: slice, tag: 1)
        guard case .refused(.fault, let back) = submission else {
          Issue.record("expected a fault for \(range)")
          return
        }
        #expect(back.byteCount == range.count)
      }
    }
    queue.kick()
    let none = queue.next() == nil
    #expect(none)
    #expect(queue.statistics.kicks == 0)
    #expect(bench.disk.counters(queue: 0).requests == 0)
    let atRest = queue.isAtRest
    #expect(atRest)
    // Up to the hole it is ordinary memory: zero copy.
    guard case .queued = queue.submitRead(at: 0, into: try memory.slice(0..<4 * 4096), tag: 2)
    else {
      Issue.record("not queued")
      return
    }
    let done = queue.nextSummary(100)
    #expect(done?.byteCount == 4 * 4096)
    #expect(queue.statistics.bouncedBytes == 0)
  }

  @Test("T11 fault+device-error: the page error wins, for nothing was published")
  func faultBeforeDeviceError() throws {
    let bench = try Bench { $0.faults = [FaultRule(.status(1))] }
    let memory = try holed(bench.device)
    var queue = try bench.device.makeQueue()
    guard
      case .refused(.fault, _) = queue.submitRead(
        at: 0, into: try memory.slice(0..<8 * 4096), tag: 1)
    else {
      Issue.record("expected a fault")
      return
    }
    #expect(bench.disk.counters(queue: 0).requests == 0)
  }

  @Test("T17 kick-accounting: one kick a batch, none for nothing", arguments: [true, false])
  func kickAccounting(eventIndex: Bool) throws {
    for count in 0...32 {
      let bench = try Bench { if !eventIndex { $0.withheld.insert(.eventIndex) } }
      var queue = try bench.device.makeQueue()
      for tag in 0..<UInt64(count) {
        guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: tag) else {
          Issue.record("not queued")
          return
        }
      }
      queue.kick()
      queue.kick()
      #expect(queue.statistics.kicks == (count > 0 ? 1 : 0))
      #expect(bench.disk.counters(queue: 0).kicks == queue.statistics.kicks)
      var done = 0
      while queue.next() != nil { done += 1 }
      #expect(done == count)
    }
  }

  @Test("T17 kick-accounting: a suppressed kick is counted, and the device still makes progress")
  func suppressedKick() throws {
    for eventIndex in [true, false] {
      let bench = try Bench {
        $0.mode = .stepped
        if !eventIndex { $0.withheld.insert(.eventIndex) }
      }
      var queue = try bench.device.makeQueue()
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 0) else {
        Issue.record("not queued")
        return
      }
      queue.kick()
      let first = try #require(bench.disk.fetch(queue: 0, wantKicks: false))
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
        Issue.record("not queued")
        return
      }
      queue.kick()
      #expect(queue.statistics.kicks == 1)
      #expect(queue.statistics.suppressedKicks == 1)
      try bench.disk.complete(first)
      for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
      var done = 0
      while queue.next() != nil { done += 1 }
      #expect(done == 2)
    }
  }

  @Test("T18 nowait-all-or-nothing: no free slot is busy; room for one is a cursor")
  func nowait() throws {
    let bench = try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
    } options: {
      $0.depth = 4
    }
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512 * 3), tag: 0) else {
      Issue.record("not queued")
      return
    }
    // One slot of four is left: a dio of four bios is accepted and keeps a cursor.
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512 * 4), tag: 1) else {
      Issue.record("not queued")
      return
    }
    guard
      case .refused(.busy, let back) = queue.submitRead(
        at: 0, into: try bench.buffer(512), tag: 2)
    else {
      Issue.record("expected busy")
      return
    }
    #expect(back.byteCount == 512)
    #expect(queue.statistics.ringFullStalls == 1)
    queue.kick()
    var tags: [UInt64] = []
    for _ in 0..<40 where tags.count < 2 {
      for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
      if let done = queue.next() { tags.append(done.tag) }
    }
    #expect(tags.sorted() == [0, 1])
    #expect(queue.statistics.requests == 7)
  }

  @Test("T19 ring-smaller-than-dio", arguments: [1, 2, 4], [true, false])
  func ringSmallerThanDio(depth: Int, indirect: Bool) throws {
    let bench = try Bench(bytes: 1 << 16) {
      if !indirect { $0.withheld.insert(.indirectDescriptors) }
      $0.segMax = 1
      $0.sizeMax = 512
    } options: {
      $0.depth = depth
    }
    var queue = try bench.device.makeQueue()
    let data = try bench.buffer(64 * 512) { UInt8(truncatingIfNeeded: $0 / 512) }
    let written = try queue.write(at: 0, from: data)
    #expect(written == 64 * 512)
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(64 * 512), tag: 4) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    var found: [UInt8] = []
    for _ in 0..<1000 where found.isEmpty {
      if let done = queue.next(), let buffer = done.buffer { found = buffer.contents }
    }
    #expect(found == data.contents)
    #expect(queue.statistics.requests == 128)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T20 multi-iovec-one-bio: 20 segments, all of them moved, in one request")
  func manySegments() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    var list = SegmentList(segmentCapacity: 20)
    for segment in 0..<20 {
      list.append(try bench.buffer(512) { _ in UInt8(segment + 1) })
    }
    let written = try queue.write(at: 0, from: list)
    #expect(written == 20 * 512)
    #expect(queue.statistics.requests == 1)
    var whole = try bench.buffer(20 * 512)
    try queue.read(at: 0, into: &whole)
    let expected = (0..<20 * 512).map { UInt8($0 / 512 + 1) }
    #expect(whole.contents == expected)
  }

  @Test("T21 zero-length: ends inside submit with 0 bytes, nothing published")
  func zeroLength() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    var empty = try bench.buffer(512)
    empty.byteCount = 0
    guard case .completed(let result, let back) = queue.submitRead(at: 512, into: empty, tag: 1)
    else {
      Issue.record("expected completed")
      return
    }
    #expect(result == IOResult(success: 0))
    guard case .completed(let second, _) = queue.submitWrite(at: 512, from: back, tag: 1) else {
      Issue.record("expected completed")
      return
    }
    #expect(second == IOResult(success: 0))
    queue.kick()
    let none = queue.next() == nil
    #expect(none)
    #expect(queue.statistics.requests == 0)
    #expect(queue.statistics.kicks == 0)
  }

  @Test(
    "T22 segment-limit-split, T23 trim: every request within the limits, whole blocks",
    arguments: [1, 2, 3, 126] as [UInt32], [nil, 512, 1536, 65_536] as [UInt32?])
  func segmentLimits(segMax: UInt32, sizeMax: UInt32?) throws {
    let bench = try Bench(bytes: 1 << 20) {
      $0.segMax = segMax
      $0.sizeMax = sizeMax
    }
    bench.disk.setTracing(true)
    var queue = try bench.device.makeQueue()
    var random = Seeded(UInt64(segMax) &* 31 &+ UInt64(sizeMax ?? 7))
    var list = SegmentList(segmentCapacity: 40)
    var expected: [UInt8] = []
    for segment in 0..<39 {
      let count = Int.random(in: 1...5000, using: &random)
      expected += [UInt8](repeating: UInt8(segment + 1), count: count)
      list.append(try bench.buffer(count) { _ in UInt8(segment + 1) })
    }
    let rest = 512 - expected.count % 512
    expected += [UInt8](repeating: 99, count: rest)
    list.append(try bench.buffer(rest) { _ in 99 })
    let written = try queue.write(at: 512, from: list)
    #expect(written == expected.count)
    for (_, transfers) in Dictionary(grouping: bench.disk.trace, by: { $0.request }) {
      #expect(transfers.count <= Int(segMax))
      #expect(transfers.allSatisfy { $0.byteCount <= Int(sizeMax ?? .max) })
      let bytes = transfers.reduce(0) { $0 + $1.byteCount }
      #expect(bytes % 512 == 0)
    }
    var whole = try bench.buffer(expected.count)
    try queue.read(at: 512, into: &whole)
    #expect(whole.contents == expected)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("T24 endio-contract: bytes are counted once, with success only")
  func endIO() throws {
    let bench = try Bench {
      $0.faults = [FaultRule(.status(1), sectors: 8..<16)]
    }
    var queue = try bench.device.makeQueue()
    var buffer = try bench.buffer(4096)
    try queue.read(at: 0, into: &buffer)
    #expect(queue.statistics.bytes == 4096)
    #expect(throws: VBlkError.self) { try failingRead(&queue, &buffer) }
    #expect(queue.statistics.bytes == 4096)
    #expect(queue.statistics.requests == 2)
  }

  private func failingRead(_ queue: inout Queue, _ buffer: inout DMABuffer) throws {
    try queue.read(at: 4096, into: &buffer)
  }
}
