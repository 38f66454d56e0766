import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Rows T44-T51 of facts §3.3: the device's end, large counts, limits that are absent or bad.
@Suite("Sizes and ends", .onEachRing)
struct SizeTests {
  static let bytes: UInt64 = 64 << 10

  @Test(
    "T44 read-at-capacity / beyond: 0 bytes, nothing published",
    arguments: [bytes, bytes + 512, UInt64.max - 511, bytes + 1])
  func readBeyond(offset: UInt64) throws {
    let bench = try Bench(bytes: Self.bytes)
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(512)
    switch queue.submitRead(at: offset, into: buffer, tag: 1) {
    case .completed(let result, let back):
      #expect(result == IOResult(success: 0))
      #expect(back.contents.allSatisfy { $0 == 0xEE })
    case .refused(let code, _):
      #expect(code == .invalidArgument)
      #expect(offset > UInt64.max - 512)
    case .queued: Issue.record("queued beyond the end")
    }
    queue.kick()
    #expect(queue.statistics.requests == 0)
  }

  @Test("T45 read-crossing-end: cut at the end, the rest of the buffer untouched")
  func readCrossing() throws {
    let bench = try Bench(bytes: Self.bytes)
    var queue = try bench.device.makeQueue()
    var buffer = try bench.buffer(4096)
    let count = try queue.read(at: Self.bytes - 512, into: &buffer)
    #expect(count == 512)
    let bytes = buffer.contents
    #expect(bytes[..<512].allSatisfy { $0 == 0 })
    #expect(bytes[512...].allSatisfy { $0 == 0xEE })
    let asked = queue.submitRead(at: Self.bytes - 1024, into: buffer, tag: 3)
    guard case .queued = asked else {
      Issue.record("not queued")
      return
    }
    let done = queue.nextSummary(10)
    #expect(done?.byteCount == 1024)
  }

  @Test(
    "T46 write-at-capacity, T47 write-crossing-end: noSpace, nothing written",
    arguments: [bytes, bytes - 512, bytes - 100, bytes + 4096])
  func writeBeyond(offset: UInt64) throws {
    let bench = try Bench(bytes: Self.bytes)
    bench.disk.setTracing(true)
    var queue = try bench.device.makeQueue()
    let buffer = try bench.buffer(1024) { _ in 0x11 }
    guard case .refused(.noSpace, let back) = queue.submitWrite(at: offset, from: buffer, tag: 1)
    else {
      Issue.record("expected noSpace")
      return
    }
    #expect(back.byteCount == 1024)
    queue.kick()
    #expect(bench.disk.trace.isEmpty)
    let error = queue.error(for: .noSpace)
    #expect(error.cause.contains("\(offset)") && error.remedy.contains("\(Self.bytes)"))
  }

  @Test(
    "T48 >2GiB-op: exact counts, one 2 MiB run again and again",
    arguments: [1 << 31 - 512, 1 << 31, 1 << 32 + 512])
  func large(count: Int) throws {
    let bench = try Bench {
      $0 = EmulatedDisk.Configuration(.null(byteCount: 1 << 40))
      $0.segMax = 126
    } options: {
      $0.memoryByteCount = 4 << 20
    }
    var queue = try bench.device.makeQueue()
    var list = SegmentList(segmentCapacity: 1 + count >> 21, bufferCapacity: 1)
    let index = list.add(try bench.device.memory.allocate(byteCount: 2 << 20))
    var left = count
    while left > 0 {
      let part = min(left, 2 << 20)
      list.append(bufferAt: index, offset: 0, byteCount: part)
      left -= part
    }
    let read = try queue.read(at: 512, into: &list)
    #expect(read == count)
    #expect(queue.statistics.bytes == UInt64(count))
    guard case .queued = queue.submitRead(at: 512, into: list, tag: 7) else {
      Issue.record("not queued")
      return
    }
    let done = queue.nextSummary(1000)
    #expect(done?.byteCount == count)
  }

  @Test("T48 >2GiB-op: 16 GiB of a sparse device, one dio, one 2 MiB run again and again")
  func sixteenGiB() throws {
    let run = 2 << 20
    let runs = 8192
    let bench = try Bench(bytes: UInt64(runs * run)) { $0.segMax = 126 }
    var queue = try bench.device.makeQueue()
    var list = SegmentList(segmentCapacity: runs, bufferCapacity: 1)
    let index = list.add(try bench.device.memory.allocate(byteCount: run))
    for _ in 0..<runs { list.append(bufferAt: index, offset: 0, byteCount: run) }
    guard case .queued = queue.submitRead(at: 0, into: list, tag: 16) else {
      Issue.record("not queued")
      return
    }
    let done = queue.nextSummary(1000)
    #expect(
      done == Summary(tag: 16, byteCount: 16 << 30, code: nil, hasBuffer: true), "one completion")
    #expect(queue.statistics.bytes == 16 << 30)
    let isOver = queue.next() == nil && queue.isAtRest
    #expect(isOver)
  }

  @Test("T49 capacity-change-in-flight: a running operation keeps its sample, new ones see the new")
  func capacityChange() throws {
    let bench = try Bench(bytes: Self.bytes) { $0.mode = .stepped }
    var queue = try bench.device.makeQueue()
    let whole = try bench.buffer(Int(Self.bytes))
    guard case .queued = queue.submitRead(at: 0, into: whole, tag: 1) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    let handles = bench.disk.fetchAll()
    // The device serves what was asked for before it shrinks.
    for handle in handles { try bench.disk.complete(handle) }
    try bench.disk.setCapacity(sectors: 16)
    let done = queue.nextSummary(10)
    #expect(done?.byteCount == Int(Self.bytes))
    // The slow tick reads the configuration again.
    for _ in 0..<50_000_000 where queue.capacity != 16 * 512 { _ = queue.next() }
    #expect(queue.capacity == 16 * 512)
    let buffer = try bench.buffer(512)
    guard case .completed(let result, _) = queue.submitRead(at: 16 * 512, into: buffer, tag: 2)
    else {
      Issue.record("expected the new end")
      return
    }
    #expect(result == IOResult(success: 0))
  }

  @Test("T50 limits-features-absent: defaults of 512 bytes, one segment, no size limit")
  func defaults() throws {
    let bench = try Bench {
      $0.segMax = nil
      $0.sizeMax = nil
      $0.withheld = [.blockSize, .segMax, .sizeMax, .topology]
    }
    let limits = bench.device.info.limits
    #expect(limits.logicalBlockSize == 512)
    #expect(limits.maxSegments == 1)
    #expect(limits.maxSegmentSize == Limits.bytesPerBio)
    var queue = try bench.device.makeQueue()
    var buffer = try bench.buffer(1 << 20)
    let count = try queue.read(at: 0, into: &buffer)
    #expect(count == 1 << 20)
    #expect(queue.statistics.requests == 1)
  }

  @Test("T50 limits-features-absent: size_max 0 means no limit, seg_max 0 one segment")
  func zeroLimits() throws {
    let bench = try Bench {
      $0.sizeMax = 0
      $0.hostility = .segMaxZero
    }
    #expect(bench.device.info.limits.maxSegments == 1)
    #expect(bench.device.info.limits.maxSegmentSize == Limits.bytesPerBio)
  }

  @Test("T51 dma-alignment: a buffer at any address is read and written in place")
  func anyAddress() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    for start in [0, 1, 3, 511, 512, 1000, 4095] {
      var list = SegmentList(segmentCapacity: 1)
      let index = list.add(try bench.buffer(8192) { UInt8(truncatingIfNeeded: $0 &* 3) })
      list.append(bufferAt: index, offset: start, byteCount: 2048)
      let written = try queue.write(at: 4096, from: list)
      #expect(written == 2048)
      var back = try bench.buffer(2048)
      try queue.read(at: 4096, into: &back)
      let expected = (start..<start + 2048).map { UInt8(truncatingIfNeeded: $0 &* 3) }
      #expect(back.contents == expected, "start \(start)")
    }
    #expect(queue.statistics.bouncedBytes == 0)
  }
}
