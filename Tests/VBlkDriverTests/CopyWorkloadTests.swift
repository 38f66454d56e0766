import CHostIO
import Testing
import VBlkEmu

@testable import VBlkDriver

/// Copies and stages of reads and writes, driven by their completions (facts §3.5).
@Suite("Workloads: copies and stages", .serialized)
struct CopyWorkloadTests {
  private struct Shape: CustomStringConvertible {
    var bytes: Int
    var depth: Int
    var description: String { "\(bytes) bytes, depth \(depth)" }
  }

  /// Writes blocks whose sectors bear their numbers.
  private func stamp(
    _ queue: inout VBlkDriver.Queue, _ bench: Bench, at start: UInt64, bytes: Int, seed: UInt64
  ) throws {
    var buffer = try bench.device.memory.allocate(byteCount: min(bytes, 1 << 20))
    var done = 0
    while done < bytes {
      buffer.byteCount = min(buffer.capacity, bytes - done)
      buffer.stamp { UInt64(done + $0) &+ seed }
      try queue.write(at: start + UInt64(done), from: buffer)
      done += buffer.byteCount
    }
  }

  private func check(
    _ queue: inout VBlkDriver.Queue, _ bench: Bench, at start: UInt64, bytes: Int, seed: UInt64
  ) throws {
    var buffer = try bench.device.memory.allocate(byteCount: min(bytes, 1 << 20))
    var done = 0
    while done < bytes {
      buffer.byteCount = min(buffer.capacity, bytes - done)
      try queue.read(at: start + UInt64(done), into: &buffer)
      let wrong = buffer.wrongStamp { UInt64(done + $0) &+ seed }
      try #require(wrong == nil, "byte \(done + (wrong ?? 0)) at \(start)")
      done += buffer.byteCount
    }
  }

  @Test(
    "T74 aiocp: a region copied by reads that become writes in their completions",
    arguments: WorkloadStore.allCases)
  func copy(store: WorkloadStore) throws {
    let size = 4 << 20
    let bench = try store.bench(bytes: UInt64(2 * size))
    var queue = try bench.device.makeQueue()
    for (turn, shape) in [1, 4, 64, 512].flatMap({ kibibytes in
      [1, 4, 16, 64].map { Shape(bytes: kibibytes << 10, depth: $0) }
    }).enumerated() where shape.bytes * shape.depth <= 8 << 20 {
      let seed = UInt64(turn) << 32
      try stamp(&queue, bench, at: 0, bytes: size, seed: seed)
      var next = 0
      var busy = 0
      repeat {
        while next < size, busy < shape.depth {
          let buffer = try bench.device.memory.allocate(byteCount: shape.bytes)
          guard queue.submits(false, at: UInt64(next), buffer, tag: UInt64(next)) else { break }
          next += shape.bytes
          busy += 1
        }
        queue.kick()
        var done = try queue.wait()
        try #require(done.result == IOResult(success: shape.bytes), "\(shape)")
        let isRead = done.tag < UInt64(size)
        let tag = done.tag + UInt64(size)
        guard let buffer = done.buffer.take() else { throw ClientError("no buffer came back") }
        if isRead {
          let isQueued = queue.submits(true, at: tag, buffer, tag: tag)
          try #require(isQueued, "one delivered is one more: \(shape)")
        } else {
          busy -= 1
        }
      } while busy > 0 || next < size
      try check(&queue, bench, at: UInt64(size), bytes: size, seed: seed)
    }
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test(
    "T81 diotest1-3, 5, 6: copied directly, in vectors and bounced, by threads in their own parts",
    arguments: WorkloadStore.allCases)
  func paths(store: WorkloadStore) throws {
    let part = 256 << 10
    let bench = try store.bench(bytes: UInt64(8 * part), queues: 4)
    let queues = try (0..<4).map { _ in SendBox(try bench.device.makeQueue()) }
    Threads.run(4) { thread in
      var queue = queues[thread].take()
      let from = UInt64(2 * thread * part)
      try stamp(&queue, bench, at: from, bytes: part, seed: UInt64(thread) << 40)
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: part + 512, alignment: 1)
      defer { memory.deallocate() }
      for way in 0..<3 {
        let to = from + UInt64(part)
        try queue.writeZeroes(at: to, byteCount: UInt64(part))
        switch way {
        case 0:
          var buffer = try bench.device.memory.allocate(byteCount: part)
          try queue.read(at: from, into: &buffer)
          try queue.write(at: to, from: buffer)
        case 1:
          // 20 segments of odd lengths that begin anywhere in their sectors.
          var list = SegmentList(segmentCapacity: 20)
          for number in 0..<20 {
            let bytes = number < 19 ? 1000 + 601 * number : part - 19 * 1000 - 601 * 171
            list.append(try bench.device.memory.allocate(byteCount: bytes))
          }
          try #require(list.byteCount == part)
          try queue.read(at: from, into: &list)
          try queue.write(at: to, from: list)
        default:
          // The caller's own memory, at an odd address.
          let odd = UnsafeMutableRawBufferPointer(rebasing: memory[1..<part + 1])
          try queue.read(at: from, into: odd)
          try queue.write(at: to, from: UnsafeRawBufferPointer(odd))
        }
        try check(&queue, bench, at: to, bytes: part, seed: UInt64(thread) << 40)
      }
    }
  }

  @Test(
    "T84 aio-stress: stages over four regions, depth 64: random write and read, write, read",
    arguments: WorkloadStore.allCases)
  func stages(store: WorkloadStore) throws {
    let record = 64 << 10
    let records = 32
    let bench = try store.bench(bytes: UInt64(4 * records * record)) {
      $0.completionOrder = .random(seed: 84)
    }
    var queue = try bench.device.makeQueue()
    var random = Seeded(84)
    for stage in 0..<4 {
      let isWrite = stage % 2 == 0
      var order = Array(0..<4 * records)
      if stage < 2 { order.shuffle(using: &random) }
      var next = 0
      var ended = 0
      while ended < order.count {
        while next < order.count, next - ended < 64 {
          let place = order[next]
          var buffer = try bench.device.memory.allocate(byteCount: record)
          if isWrite { buffer.stamp { UInt64(place * record + $0 + stage) } }
          guard
            queue.submits(isWrite, at: UInt64(place * record), buffer, tag: UInt64(place))
          else { break }
          next += 1
        }
        queue.kick()
        let done = try queue.wait()
        ended += 1
        let place = Int(done.tag)
        try #require(done.result == IOResult(success: record))
        guard !isWrite, let buffer = done.buffer else { continue }
        let wrong = buffer.wrongStamp { UInt64(place * record + $0 + stage - 1) }
        try #require(wrong == nil, "stage \(stage), record \(place)")
      }
    }
  }
}
