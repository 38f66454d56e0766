import CHostIO
import Glibc
import Synchronization
import Testing
import VBlkEmu

@testable import VBlkDriver

/// One thread appends, another reads what has been acknowledged (facts §3.5).
@Suite("Workloads: appending", .serialized)
struct AppendWorkloadTests {
  static let blockBytes = 2048

  /// What block `number` holds.
  private static func stamp(_ number: Int) -> UInt64 { UInt64(number) &* 0x9E37_79B9 | 1 << 63 }

  // Bugzilla 242116: with the kernel of its day a reader that followed an appending writer got
  // short reads within seconds. An operation was notified before all of it was there.
  @Test(
    "T64 bugzilla-242116: a reader behind an appending writer, never short, never stale",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func follow(store: WorkloadStore, adversary: Adversary) throws {
    let rounds = store == .memory && adversary == .reorders ? 100_000 : 2_000
    let bench = try store.bench(bytes: UInt64(rounds * Self.blockBytes), queues: 2) {
      $0.segMax = 1
      $0.sizeMax = 1024
      adversary.apply(to: &$0)
    } options: {
      $0.depth = 4
    }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    let acknowledged = Counter()
    let hasFailed = Counter()
    let queues = [SendBox(try bench.device.makeQueue()), SendBox(try bench.device.makeQueue())]
    Threads.run(2) { thread in
      var queue = queues[thread].take()
      do {
        if thread == 0 {
          try append(&queue, bench, rounds, acknowledged, hasFailed)
        } else {
          try read(&queue, bench, rounds, acknowledged, hasFailed)
        }
      } catch {
        hasFailed.add()
        throw error
      }
    }
    #expect(acknowledged.value == rounds)
    #expect(bench.disk.dmaFaults.isEmpty)
  }

  /// Appends blocks of two bios, four at a time; a block counts when it and all before it have
  /// ended.
  private func append(
    _ queue: inout VBlkDriver.Queue, _ bench: Bench, _ rounds: Int, _ acknowledged: Counter,
    _ hasFailed: Counter
  ) throws {
    let holed = try HoledMemory(bench.device)
    var submitted = 0
    var ended: Set<Int> = []
    while acknowledged.value < rounds, hasFailed.value == 0 {
      while submitted < rounds, submitted - acknowledged.value < 4 {
        var block = try bench.device.memory.allocate(byteCount: Self.blockBytes)
        block.stamp { _ in Self.stamp(submitted) }
        guard
          queue.submits(
            true, at: UInt64(submitted * Self.blockBytes), block, tag: UInt64(submitted))
        else { break }
        submitted += 1
        if submitted % 500 == 0 { try holed.expectFault(&queue, at: UInt64(submitted)) }
      }
      queue.kick()
      while let done = queue.next() {
        guard done.result == IOResult(success: Self.blockBytes) else {
          throw ClientError("a write ended with \(done.result)")
        }
        ended.insert(Int(done.tag))
      }
      while ended.remove(acknowledged.value) != nil { acknowledged.add() }
      chio_yield()
    }
  }

  /// Reads the last acknowledged blocks, and now and then older ones.
  private func read(
    _ queue: inout VBlkDriver.Queue, _ bench: Bench, _ rounds: Int, _ acknowledged: Counter,
    _ hasFailed: Counter
  ) throws {
    var random = Seeded(64)
    var seen = 0
    while seen < rounds, hasFailed.value == 0 {
      let end = acknowledged.value
      guard end > seen else {
        chio_yield()
        continue
      }
      seen = end
      let last =
        Int.random(in: 0..<8, using: &random) == 0
        ? Int.random(in: 0..<end, using: &random) : end - 1
      let first = max(0, last - 3)
      let count = (last - first + 1) * Self.blockBytes
      var buffer = try bench.device.memory.allocate(byteCount: count)
      buffer.fill(0xBB)
      let got = try queue.read(at: UInt64(first * Self.blockBytes), into: &buffer)
      guard got == count else { throw ClientError("short: \(got) of \(count) at block \(first)") }
      if let wrong = buffer.wrongStamp({ Self.stamp(first + $0 / Self.blockBytes) }) {
        throw ClientError("stale: byte \(wrong) from block \(first), of \(end) acknowledged")
      }
    }
  }

  @Test(
    "T65 append-write-read-race: a read brings the old block or the new, no sector of neither",
    arguments: WorkloadStore.allCases)
  func readRace(store: WorkloadStore) throws {
    let count = 64 << 10
    let bench = try store.bench(bytes: UInt64(count), queues: 2)
    let queues = [SendBox(try bench.device.makeQueue()), SendBox(try bench.device.makeQueue())]
    let isOver = Counter()
    Threads.run(2) { thread in
      var queue = queues[thread].take()
      defer { isOver.add() }
      var buffer = try bench.device.memory.allocate(byteCount: count)
      if thread == 0 {
        for round in 1...300 {
          buffer.fill(UInt8(round % 2 + 1))
          try queue.write(at: 0, from: buffer)
        }
        return
      }
      while isOver.value == 0 {
        buffer.fill(0xBB)
        try queue.read(at: 0, into: &buffer)
        guard buffer.hasWholeSectors(of: [0, 1, 2]) else { throw ClientError("a torn sector") }
      }
    }
  }

  @Test(
    "T70 dio_append: 16 x 64 KiB in flight, readers see every acknowledged prefix",
    arguments: WorkloadStore.allCases)
  func deep(store: WorkloadStore) throws {
    let chunk = 64 << 10
    let chunks = 256
    let bench = try store.bench(bytes: UInt64(chunk * chunks), queues: 3)
    let queues = try (0..<3).map { _ in SendBox(try bench.device.makeQueue()) }
    let acknowledged = Counter()
    Threads.run(3) { thread in
      var queue = queues[thread].take()
      if thread == 0 {
        var submitted = 0
        var ended: Set<Int> = []
        while acknowledged.value < chunks {
          while submitted < chunks, submitted - acknowledged.value < 16 {
            var buffer = try bench.device.memory.allocate(byteCount: chunk)
            buffer.fill(UInt8(submitted % 255 + 1))
            guard
              queue.submits(
                true, at: UInt64(submitted * chunk), buffer, tag: UInt64(submitted))
            else { break }
            submitted += 1
          }
          ended.insert(Int(try queue.wait().tag))
          while ended.remove(acknowledged.value) != nil { acknowledged.add() }
        }
        return
      }
      var random = Seeded(UInt64(thread))
      var buffer = try bench.device.memory.allocate(byteCount: chunk)
      while acknowledged.value < chunks {
        let end = acknowledged.value
        guard end > 0 else {
          chio_yield()
          continue
        }
        let one = Int.random(in: 0..<end, using: &random)
        try queue.read(at: UInt64(one * chunk), into: &buffer)
        guard buffer.holds(UInt8(one % 255 + 1)) else { throw ClientError("chunk \(one) is stale") }
      }
    }
  }
}

/// Registered memory of two pages, the second of which is not there.
struct HoledMemory {
  private let memory: RegisteredMemory

  init(_ device: Device) throws {
    let base = try #require(
      mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    try #require(munmap(base + 4096, 4096) == 0)
    memory = try device.register(
      UnsafeMutableRawBufferPointer(start: base, count: 8192), holes: .allow)
  }

  /// A page error is refused in submit, and nothing reaches the device.
  func expectFault(_ queue: inout VBlkDriver.Queue, at tag: UInt64) throws {
    guard
      case .refused(.fault, _) = queue.submitRead(at: 0, into: try memory.slice(0..<8192), tag: tag)
    else { throw ClientError("a page error was ignored") }
  }
}
