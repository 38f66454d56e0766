import Glibc
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Where the device's transfers go, by its own trace: zero copy is shown, not claimed.
@Suite("Scatter-gather from pinned pages", .onEachRing)
struct ScatterGatherTests {
  private func transfers(_ bench: Bench, _ type: RequestType) -> [DMATransfer] {
    bench.disk.trace.filter { $0.requestType == type.rawValue }
  }

  @Test("a readv into 8 registered, scattered pages: 8 data segments at those pages, 0 bounced")
  func registeredPages() throws {
    let bench = try Bench()
    let count = 64 * 4096
    let base = try #require(
      mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    let pages = UnsafeMutableRawBufferPointer(start: base, count: count)
    let registered = try bench.device.register(pages)
    var queue = try bench.device.makeQueue()
    let data = try bench.buffer(8 * 4096) { UInt8($0 / 4096 + 1) }
    try queue.write(at: 0, from: data)
    bench.disk.setTracing(true)
    var list = SegmentList(segmentCapacity: 8)
    let places = [40, 3, 17, 60, 8, 25, 33, 51]
    var addresses: [UInt64] = []
    for place in places {
      let slice = try registered.slice(place * 4096..<(place + 1) * 4096)
      addresses.append(slice.record.pointee.run(at: 0, limit: 4096).deviceAddress)
      list.append(slice)
    }
    guard case .queued = queue.submitRead(at: 0, into: list, tag: 1) else { return }
    let done = queue.nextSummary(10)
    #expect(done?.byteCount == 8 * 4096)
    let trace = transfers(bench, .read)
    #expect(trace.map(\.deviceAddress) == addresses)
    #expect(trace.allSatisfy { $0.byteCount == 4096 })
    #expect(Set(trace.map(\.request)).count == 1)
    #expect(queue.statistics.bouncedBytes == 0)
    for (index, place) in places.enumerated() {
      #expect(pages[place * 4096] == UInt8(index + 1))
      #expect(pages[place * 4096 + 4095] == UInt8(index + 1))
    }
    #expect(pages[4096] == 0, "nothing beside them")
    try registered.unregister()
    munmap(base, count)
  }

  @Test("a buffer over runs of 4 KiB becomes a segment a run, 0 bounced")
  func scatteredRuns() throws {
    let bench = try Bench(options: { $0.layout = .scattered(runByteCount: 4096, seed: 3) })
    var queue = try bench.device.makeQueue()
    bench.disk.setTracing(true)
    let buffer = try bench.buffer(6 * 4096) { UInt8($0 / 4096 + 1) }
    let runs = (0..<6).map {
      buffer.record.pointee.run(at: $0 * 4096, limit: 4096).deviceAddress
    }
    try queue.write(at: 0, from: buffer)
    let trace = transfers(bench, .write)
    #expect(trace.map(\.deviceAddress) == runs)
    #expect(Set(runs).count == 6)
    #expect(trace.allSatisfy { $0.byteCount == 4096 })
    #expect(queue.statistics.requests == 1)
    #expect(queue.statistics.bouncedBytes == 0)
    var back = try bench.buffer(6 * 4096)
    try queue.read(at: 0, into: &back)
    #expect(back.contents == buffer.contents)
  }

  @Test("a copy between two devices moves through one arena: the same addresses, 0 bounced")
  func betweenDevices() throws {
    let source = try Bench()
    let destination = try Bench()
    try destination.device.attach(source.device.memory)
    var reading = try source.device.makeQueue()
    var writing = try destination.device.makeQueue()
    var buffer = try source.buffer(64 << 10) { UInt8(truncatingIfNeeded: $0) }
    try reading.write(at: 0, from: buffer)
    buffer.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
    source.disk.setTracing(true)
    destination.disk.setTracing(true)
    try reading.read(at: 0, into: &buffer)
    try writing.write(at: 0, from: buffer)
    let read = transfers(source, .read).map(\.deviceAddress)
    let written = transfers(destination, .write).map(\.deviceAddress)
    #expect(read == written && !read.isEmpty)
    #expect(reading.statistics.bouncedBytes == 0)
    #expect(writing.statistics.bouncedBytes == 0)
    var back = try destination.buffer(64 << 10)
    try writing.read(at: 0, into: &back)
    #expect(back.contents == (0..<64 << 10).map { UInt8(truncatingIfNeeded: $0) })
  }

  @Test("memory that the device has not mapped is refused, nothing published")
  func foreignMemory() throws {
    let one = try Bench()
    let other = try Bench()
    var queue = try one.device.makeQueue()
    guard
      case .refused(.foreignMemory, _) = queue.submitRead(
        at: 0, into: try other.buffer(512), tag: 1)
    else {
      Issue.record("foreign memory was accepted")
      return
    }
    queue.kick()
    #expect(queue.statistics.requests == 0)
  }
}
