import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// `PollGroup` as its user has it: a home queue of this thread, the other on a loop's.
@Suite("Groups of queues")
struct GroupTests {
  private let bench: Bench
  private let loop: PollLoop

  init() throws {
    bench = try Bench(bytes: 1 << 20) {
      $0.mode = .threaded
      $0.queues = 2
    } options: {
      $0.queues = 2
    }
    loop = try PollLoop()
  }

  /// A group whose operations are cut into parts of 4 KiB, and what `body` makes of it.
  private func withGroup(_ body: (inout PollGroup) throws -> Void) throws {
    let home = try bench.device.makeQueue()
    let other = loop.add(try bench.device.makeQueue())
    var options = PollGroup.Options()
    options.partByteCount = 4096
    var group = PollGroup(home: home, with: [other], options: options)
    try body(&group)
    group.close()
    loop.stop()
  }

  /// Kicks, and waits for the one operation in flight.
  private func finish(_ group: inout PollGroup) -> Completion? {
    group.kick()
    for _ in 0..<50_000_000 {
      if let done = group.next() { return done }
    }
    return nil
  }

  private func summary(_ group: inout PollGroup) -> Summary? {
    guard let done = finish(&group) else { return nil }
    return done.summary
  }

  /// A list of segments of these sizes, each byte of which is `fill` of its place in the list.
  private func list(_ sizes: [Int], _ fill: (Int) -> UInt8) throws -> SegmentList {
    var list = SegmentList(segmentCapacity: sizes.count)
    var start = 0
    for size in sizes {
      list.append(try bench.buffer(size) { fill(start + $0) })
      start += size
    }
    return list
  }

  @Test("lists are written and read over several queues, in their order")
  func lists() throws {
    try withGroup { group in
      #expect(group.byteCount == 1 << 20 && group.inFlight == 0)
      let sizes = [512, 4096, 1536, 10_240]
      let total = sizes.reduce(0, +)
      let data = try list(sizes) { UInt8(truncatingIfNeeded: $0 / 3) }
      guard case .queued = group.submitWrite(at: 8192, from: data, tag: 5, durable: true) else {
        Issue.record("not queued")
        return
      }
      #expect(group.inFlight == 1)
      let wrote = summary(&group)
      #expect(wrote == Summary(tag: 5, byteCount: total, code: nil, hasBuffer: true))
      guard case .queued = group.submitRead(at: 8192, into: try list(sizes) { _ in 0 }, tag: 6)
      else {
        Issue.record("not queued")
        return
      }
      guard let done = finish(&group), var read = done.segments else {
        Issue.record("no list came back")
        return
      }
      var start = 0
      for (index, size) in sizes.enumerated() {
        let bytes = unsafe read.withUnsafeMutableBytes(ofBufferAt: index) { unsafe Array($0) }
        let expected = (start..<start + size).map { UInt8(truncatingIfNeeded: $0 / 3) }
        #expect(bytes == expected, "segment \(index)")
        start += size
      }
      #expect(group.inFlight == 0 && group.statistics.bytes > 0)
    }
  }

  @Test("a flush of a group ends once, and refusals come with the memory and the reason")
  func flushAndRefusals() throws {
    try withGroup { group in
      guard case .queued = group.submitFlush(tag: 9) else {
        Issue.record("not queued")
        return
      }
      let flushed = summary(&group)
      #expect(flushed == Summary(tag: 9, byteCount: 0, code: nil, hasBuffer: false))
      switch group.submitWrite(at: 1 << 20, from: try list([512]) { _ in 0 }, tag: 1) {
      case .refused(let code, let list):
        #expect(code == .noSpace && list.byteCount == 512)
        #expect(group.error(for: code).description.contains("\(1 << 20)"))
      default: Issue.record("a write beyond the end was not refused")
      }
      switch group.submitRead(at: 1 << 20, into: try list([512]) { _ in 0 }, tag: 1) {
      case .completed(let result, let list):
        #expect(result == IOResult(byteCount: 0, code: nil) && list.byteCount == 512)
      default: Issue.record("a read at the end did not end at once")
      }
      group.close()
      switch group.submitRead(at: 0, into: try list([512]) { _ in 0 }, tag: 1) {
      case .refused(let code, let list): #expect(code == .closed && list.count == 1)
      default: Issue.record("a closed group took an operation")
      }
      guard case .refused(.closed) = group.submitFlush(tag: 1) else {
        Issue.record("a closed group took a flush")
        return
      }
    }
  }

  @Test("an arena that was detached is foreign; one whose buffers are out is not detached")
  func detach() throws {
    let arena = try DMAArena(byteCount: 1 << 20)
    try bench.device.attach(arena)
    var queue = try bench.device.makeQueue()
    var buffer = try arena.allocate(byteCount: 512)
    #expect(try queue.read(at: 0, into: &buffer) == 512)
    #expect(throws: VBlkError.self) { try bench.device.detach(arena) }
    _ = consume buffer
    try bench.device.detach(arena)
    let foreign = try arena.allocate(byteCount: 512)
    guard case .refused(.foreignMemory, _) = queue.submitRead(at: 0, into: foreign, tag: 1) else {
      Issue.record("memory of an arena that was detached was taken")
      return
    }
  }

  @Test("the last buffer of a list comes back out of it")
  func lastBuffer() throws {
    var list = try list([512, 1024]) { _ in 7 }
    #expect(list.bufferCount == 2 && list.byteCount == 1536)
    let last = list.removeLastBuffer()?.byteCount
    #expect(last == 1024 && list.bufferCount == 1 && list.count == 0)
    let first = list.removeLastBuffer()?.byteCount
    let none = list.removeLastBuffer() == nil
    #expect(first == 512 && none)
  }
}
