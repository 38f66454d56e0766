import CHostIO
import Testing
import VBlkEmu

@testable import VBlkDriver

/// The same bytes written again, and read meanwhile (facts §3.5).
@Suite("Workloads: overwriting", .serialized)
struct OverwriteWorkloadTests {
  /// Writes `byte` to the whole device.
  private func fill(_ bench: Bench, _ queue: inout VBlkDriver.Queue, _ byte: UInt8) throws {
    var buffer = try bench.device.memory.allocate(byteCount: 1 << 20)
    buffer.fill(byte)
    for offset in stride(from: 0, to: bench.device.info.capacityBytes, by: 1 << 20) {
      try queue.write(at: offset, from: buffer)
    }
  }

  @Test(
    "T71 dio_sparse: zeroes over a dirty device at a stride, under readers; no sector is mixed",
    arguments: WorkloadStore.allCases)
  func sparse(store: WorkloadStore) throws {
    let bench = try store.bench(bytes: 16 << 20, queues: 3)
    let queues = try (0..<3).map { _ in SendBox(try bench.device.makeQueue()) }
    let isFilled = Counter()
    let isOver = Counter()
    Threads.run(3) { thread in
      var queue = queues[thread].take()
      if thread == 0 {
        defer { isOver.add() }
        defer { isFilled.add() }
        try fill(bench, &queue, 0xAA)
        isFilled.add()
        var zeroes = try bench.device.memory.allocate(byteCount: 64 << 10)
        zeroes.fill(0)
        for start in 0..<4 {
          for chunk in stride(from: start, to: 256, by: 4) {
            try queue.write(at: UInt64(chunk) << 16, from: zeroes)
          }
        }
        return
      }
      while isFilled.value == 0 { chio_yield() }
      var random = Seeded(UInt64(thread))
      var buffer = try bench.device.memory.allocate(byteCount: 128 << 10)
      while isOver.value == 0 {
        try queue.read(at: UInt64.random(in: 0..<126, using: &random) << 17, into: &buffer)
        guard buffer.hasWholeSectors(of: [0, 0xAA]) else { throw ClientError("a mixed sector") }
      }
      for offset in stride(from: 0, to: 16 << 20 as UInt64, by: 128 << 10) {
        try queue.read(at: offset, into: &buffer)
        guard buffer.holds(0) else { throw ClientError("not all zero in the end") }
      }
    }
  }

  @Test(
    "T72 dio_truncate: discarded, zeroed and written again under readers; never what was before",
    arguments: WorkloadStore.allCases)
  func truncate(store: WorkloadStore) throws {
    let bench = try store.bench(bytes: 4 << 20, queues: 2)
    let queues = try (0..<2).map { _ in SendBox(try bench.device.makeQueue()) }
    let isReady = Counter()
    let isOver = Counter()
    Threads.run(2) { thread in
      var queue = queues[thread].take()
      var buffer = try bench.device.memory.allocate(byteCount: 1 << 20)
      if thread == 0 {
        defer { isOver.add() }
        defer { isReady.add() }
        try fill(bench, &queue, 0xAA)
        try queue.writeZeroes(at: 0, byteCount: 4 << 20)
        isReady.add()
        for round in 0..<60 {
          let offset = UInt64(round % 4) << 20
          buffer.fill(0x55)
          try queue.write(at: offset, from: buffer)
          if round % 2 == 0 {
            try queue.writeZeroes(at: offset, byteCount: 1 << 20, mayUnmap: round % 4 == 0)
          } else {
            try queue.discard(at: offset, byteCount: 1 << 20)
          }
        }
        return
      }
      while isReady.value == 0 { chio_yield() }
      var random = Seeded(72)
      while isOver.value == 0 {
        try queue.read(at: UInt64.random(in: 0..<4, using: &random) << 20, into: &buffer)
        guard buffer.hasWholeSectors(of: [0, 0x55]) else {
          throw ClientError("old bytes came back")
        }
      }
    }
  }

  @Test(
    "T73 dio_read: 8 writers of zeroes, readers of 32 MiB in one operation: all zero",
    arguments: WorkloadStore.allCases)
  func read(store: WorkloadStore) throws {
    let size = 32 << 20
    let bench = try store.bench(bytes: UInt64(size), queues: 10) {
      $0.queueSize = 64
    } options: {
      $0.depth = 32
      $0.memoryByteCount = 80 << 20
    }
    let queues = try (0..<10).map { _ in SendBox(try bench.device.makeQueue()) }
    Threads.run(10) { thread in
      var queue = queues[thread].take()
      if thread < 8 {
        var zeroes = try bench.device.memory.allocate(byteCount: 1 << 20)
        zeroes.fill(0)
        for round in 0..<4 {
          try queue.write(at: UInt64((round * 8 + thread) % 32) << 20, from: zeroes)
        }
        return
      }
      var whole = try bench.device.memory.allocate(byteCount: size)
      for _ in 0..<3 {
        whole.fill(0xBB)
        let got = try queue.read(at: 0, into: &whole)
        guard got == size, whole.holds(0) else { throw ClientError("not all zero") }
      }
    }
  }

  @Test(
    "T75 aio-dio-cycle-write: rewritten and read back after each completion, never the last one's",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func cycle(store: WorkloadStore, adversary: Adversary) throws {
    let bench = try store.bench(bytes: 1 << 20) { adversary.apply(to: &$0) }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    var queue = try bench.device.makeQueue()
    var buffer = try bench.device.memory.allocate(byteCount: 64 << 10)
    for round in 0..<300 {
      let pattern: UInt8 = round % 2 == 0 ? 0x55 : 0xAA
      buffer.fill(pattern)
      let isQueued = queue.submits(true, at: 64 << 10, buffer, tag: 1)
      try #require(isQueued)
      queue.kick()
      var done = try queue.wait()
      try #require(done.result == IOResult(success: 64 << 10))
      guard var back = done.buffer.take() else { throw ClientError("no buffer came back") }
      back.fill(0)
      try queue.read(at: 64 << 10, into: &back)
      let isRight = back.holds(pattern)
      try #require(isRight, "round \(round)")
      buffer = back
    }
  }

  @Test(
    "T76 aio-dio-cow-race: overlapping writes in one batch; each sector is one of them",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func overlapping(store: WorkloadStore, adversary: Adversary) throws {
    let bench = try store.bench(bytes: 1 << 20) { adversary.apply(to: &$0) }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    var queue = try bench.device.makeQueue()
    for round in 0..<100 {
      let parts = [(0, 64), (0, 32), (32, 32), (0, 64)]
      for (number, part) in parts.enumerated() {
        var buffer = try bench.device.memory.allocate(byteCount: part.1 << 10)
        buffer.fill(UInt8(number + 1))
        let isQueued = queue.submits(
          true, at: UInt64(part.0) << 10, buffer, tag: UInt64(number))
        try #require(isQueued)
      }
      queue.kick()
      for _ in parts {
        let result = try queue.wait().result
        try #require(result.code == nil)
      }
      var back = try bench.device.memory.allocate(byteCount: 64 << 10)
      try queue.read(at: 0, into: &back)
      let isRight = back.hasWholeSectors(of: [1, 2, 3, 4])
      try #require(isRight, "round \(round)")
    }
  }

  @Test(
    "T77 aio-dio-hole-filling-race: 4 KiB into a hole, read at once in its completion",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func holes(store: WorkloadStore, adversary: Adversary) throws {
    let blocks = 1000
    let bench = try store.bench(bytes: UInt64(blocks) << 16) { adversary.apply(to: &$0) }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    var queue = try bench.device.makeQueue()
    for block in 0..<UInt64(blocks) {
      var buffer = try bench.device.memory.allocate(byteCount: 4096)
      buffer.stamp { _ in block + 1 }
      let isQueued = queue.submits(true, at: block << 16, buffer, tag: block)
      try #require(isQueued)
      queue.kick()
      _ = try queue.wait()
      let empty = try bench.device.memory.allocate(byteCount: 8192)
      let reads = queue.submits(false, at: block << 16, empty, tag: block)
      try #require(reads)
      var done = try queue.wait()
      guard let back = done.buffer.take() else { throw ClientError("no buffer came back") }
      let wrong = back.wrongStamp { $0 < 4096 ? block + 1 : 0 }
      try #require(wrong == nil, "block \(block), byte \(wrong ?? 0)")
    }
  }

  @Test(
    "T80 append-write-fallocate-race: a block written while its neighbour is zeroed",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func neighbours(store: WorkloadStore, adversary: Adversary) throws {
    let bench = try store.bench(bytes: 1 << 20) { adversary.apply(to: &$0) }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    var queue = try bench.device.makeQueue()
    for round in 0..<200 {
      try fill(bench, &queue, 0xAA)
      var buffer = try bench.device.memory.allocate(byteCount: 4096)
      buffer.fill(0x77)
      let zeroes = queue.submitWriteZeroes(at: 0, byteCount: 4096, tag: 0)
      let isQueued = queue.submits(true, at: 4096, buffer, tag: 1)
      try #require(zeroes == .queued && isQueued)
      queue.kick()
      _ = try queue.wait()
      _ = try queue.wait()
      var back = try bench.device.memory.allocate(byteCount: 12 << 10)
      try queue.read(at: 0, into: &back)
      let isRight =
        back.holds(0, in: 0..<4096) && back.holds(0x77, in: 4096..<8192)
        && back.holds(0xAA, in: 8192..<12288)
      try #require(isRight, "round \(round)")
    }
  }
}
