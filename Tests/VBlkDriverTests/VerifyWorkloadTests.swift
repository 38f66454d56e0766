import CHostIO
import Testing
import VBlkEmu

@testable import VBlkDriver

/// Many operations whose every block is verified, with faults and without (facts §3.5).
@Suite("Workloads: verified", .serialized)
struct VerifyWorkloadTests {
  @Test(
    "T78 aio-dio-invalidate-failure: 32 MiB operations beside bounced ones on the same range",
    arguments: WorkloadStore.allCases)
  func large(store: WorkloadStore) throws {
    let size = 32 << 20
    let bench = try store.bench(bytes: UInt64(size), queues: 2) {
      $0.sizeMax = 128 << 10
      $0.segMax = 2
    } options: {
      $0.memoryByteCount = 48 << 20
    }
    let queues = [SendBox(try bench.device.makeQueue()), SendBox(try bench.device.makeQueue())]
    let isOver = Counter()
    Threads.run(2) { thread in
      var queue = queues[thread].take()
      if thread == 0 {
        defer { isOver.add() }
        var buffer = try bench.device.memory.allocate(byteCount: size)
        for tag in 0..<UInt64(6) {
          buffer.fill(UInt8(tag + 1))
          let isQueued = queue.submits(tag % 2 == 0, at: 0, buffer, tag: tag)
          try #require(isQueued)
          queue.kick()
          var done = try queue.wait()
          try #require(done.tag == tag && done.result == IOResult(success: size))
          let again = queue.next() == nil
          try #require(again, "one completion an operation")
          guard let back = done.buffer.take() else { throw ClientError("no buffer came back") }
          buffer = back
        }
        return
      }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 5000, alignment: 1)
      defer { memory.deallocate() }
      memory.initializeMemory(as: UInt8.self, repeating: 9)
      var random = Seeded(78)
      while isOver.value == 0 {
        let offset = UInt64.random(in: 0..<UInt64(size - 5000), using: &random)
        try #require(try queue.write(at: offset, from: UnsafeRawBufferPointer(memory)) == 5000)
      }
    }
  }

  @Test(
    "T79 aio-dio-fcntl-race: direct and bounced, asynchronous and waited for, in turns",
    arguments: WorkloadStore.allCases)
  func modes(store: WorkloadStore) throws {
    let bench = try store.bench(bytes: 1 << 20)
    var queue = try bench.device.makeQueue()
    var random = Seeded(79)
    var submitted = 0
    var ended = 0
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
    defer { memory.deallocate() }
    for round in 0..<1000 {
      let block = UInt64.random(in: 0..<200, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        var buffer = try bench.device.memory.allocate(byteCount: 4096)
        buffer.stamp { _ in block }
        if queue.submits(true, at: block * 4096, buffer, tag: 1) { submitted += 1 }
      case 1:
        let buffer = try bench.device.memory.allocate(byteCount: 3000)
        if queue.submits(false, at: block * 4096 + 7, buffer, tag: 1) { submitted += 1 }
      case 2: try queue.read(at: block * 4096, into: memory)
      default:
        var buffer = try bench.device.memory.allocate(byteCount: 4096)
        buffer.stamp { _ in block }
        try queue.write(at: block * 4096, from: buffer, durable: round % 8 == 0)
      }
      if round % 5 == 0 { queue.kick() }
      while let done = queue.next() {
        try #require(done.result.code == nil && done.result.byteCount >= 3000)
        ended += 1
      }
    }
    while ended < submitted {
      _ = try queue.wait()
      ended += 1
    }
    let isOver = queue.next() == nil && queue.isAtRest
    #expect(isOver)
    for block in 0..<200 as Range<UInt64> {
      var buffer = try bench.device.memory.allocate(byteCount: 4096)
      try queue.read(at: block * 4096, into: &buffer)
      let isZero = buffer.wrongStamp({ _ in 0 }) == nil
      let isStamped = buffer.wrongStamp({ _ in block }) == nil
      #expect(isZero || isStamped, "block \(block)")
    }
  }

  @Test(
    "T83 aio01, aio02: as many completions as submissions, each of all its bytes",
    arguments: WorkloadStore.allCases, [1, 16])
  func events(store: WorkloadStore, batch: Int) throws {
    let bench = try store.bench(bytes: 8 << 20)
    var queue = try bench.device.makeQueue()
    for isWrite in [true, false] {
      for round in 0..<64 {
        for number in 0..<batch {
          let buffer = try bench.device.memory.allocate(byteCount: 8192)
          let offset = UInt64((round * batch + number) % 1024) * 8192
          let isQueued = queue.submits(isWrite, at: offset, buffer, tag: UInt64(number))
          try #require(isQueued)
        }
        queue.kick()
        var tags: Set<UInt64> = []
        for _ in 0..<batch {
          let done = try queue.wait()
          try #require(done.result == IOResult(success: 8192))
          tags.insert(done.tag)
        }
        let isOver = queue.next() == nil
        try #require(isOver && tags.count == batch)
      }
    }
  }

  @Test(
    "T85 fio verify: random writes of 512 bytes to 64 KiB, every block's header read back",
    arguments: WorkloadStore.allCases, Adversary.allCases)
  func verify(store: WorkloadStore, adversary: Adversary) throws {
    let bench = try store.bench(bytes: 8 << 20) { adversary.apply(to: &$0) }
    let releaser = adversary.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    var queue = try bench.device.makeQueue()
    var client = try VerifyClient(bench, sectors: 16 << 10, seed: 85)
    try client.run(&queue, operations: 2000)
    try client.verifyAll(&queue)
  }

  @Test(
    "T86 soak with fault injection: 1 % of errors, resets, random order; the model agrees",
    arguments: WorkloadStore.allCases, [UInt64(1), 2, 3])
  func soak(store: WorkloadStore, seed: UInt64) throws {
    let bench = try store.bench(bytes: 2 << 20) {
      $0.seed = seed
      $0.completionOrder = .random(seed: seed)
      $0.faults = [
        FaultRule(.status(1), probability: 0.01), FaultRule(.hold, probability: 0.02),
      ]
    }
    var queue = try bench.device.makeQueue()
    var client = try VerifyClient(bench, sectors: 4096, seed: seed)
    let releaser = Adversary.delays.releaser(bench)
    defer { withExtendedLifetime(releaser) {} }
    client.resetsPerThousand = 1
    try client.run(&queue, operations: 2000)
    bench.disk.setFaults([])
    try client.verifyAll(&queue)
    let atRest = queue.isAtRest
    #expect(atRest, "seed \(seed)")
  }
}

/// Writes ranges that never overlap one in flight, and knows what each sector may hold: the stamp
/// of the write that ended last, or of any that failed since.
struct VerifyClient {
  private let bench: Bench
  private let sectors: Int
  private let seed: UInt64
  private var random: Seeded
  private var allowed: [Set<UInt64>]
  private var isBusy: [Bool]
  private var inFlight: [UInt64: (first: Int, count: Int, isWrite: Bool)] = [:]
  private var operation: UInt64 = 0
  /// Resets of the device, each thousand operations.
  var resetsPerThousand = 0

  init(_ bench: Bench, sectors: Int, seed: UInt64) throws {
    self.bench = bench
    self.sectors = sectors
    self.seed = seed
    random = Seeded(seed)
    allowed = Array(repeating: [0], count: sectors)
    isBusy = Array(repeating: false, count: sectors)
  }

  /// What sector `number` bears after operation `operation`.
  private static func stamp(_ number: Int, _ operation: UInt64) -> UInt64 {
    operation == 0 ? 0 : UInt64(number) << 32 | operation
  }

  mutating func run(_ queue: inout VBlkDriver.Queue, operations: Int) throws {
    var ended = 0
    while ended < operations || !inFlight.isEmpty {
      while inFlight.count < 16, Int(operation) < operations, try submit(&queue) {}
      queue.kick()
      if resetsPerThousand > 0, Int.random(in: 0..<1000, using: &random) < resetsPerThousand {
        bench.device.reset()
      }
      if inFlight.isEmpty {
        // Refused while the device is being reset: a look brings it on.
        _ = queue.next()
        if Int(operation) >= operations { return }
        continue
      }
      let done = try queue.wait()
      ended += 1
      try end(done)
    }
  }

  private mutating func submit(_ queue: inout VBlkDriver.Queue) throws -> Bool {
    let count = Int.random(in: 1...128, using: &random)
    let first = Int.random(in: 0...sectors - count, using: &random)
    guard !isBusy[first..<first + count].contains(true) else { return false }
    let isWrite = Int.random(in: 0..<3, using: &random) > 0
    let number = operation + 1
    var buffer = try bench.device.memory.allocate(byteCount: 512 * count)
    if isWrite { buffer.stamp { Self.stamp(first + $0 / 512, number) } }
    guard
      queue.submits(
        isWrite, at: UInt64(first) * 512, buffer, tag: number, durable: number % 10 == 0)
    else { return false }
    operation = number
    inFlight[number] = (first, count, isWrite)
    for sector in first..<first + count { isBusy[sector] = true }
    return true
  }

  private mutating func end(_ done: consuming Completion) throws {
    let tag = done.tag
    let result = done.result
    guard let run = inFlight.removeValue(forKey: tag) else {
      throw ClientError("seed \(seed): operation \(tag) ended, and was not in flight")
    }
    for sector in run.first..<run.first + run.count { isBusy[sector] = false }
    if run.isWrite {
      for sector in run.first..<run.first + run.count {
        let stamp = Self.stamp(sector, tag)
        if result.code == nil { allowed[sector] = [stamp] } else { allowed[sector].insert(stamp) }
      }
      return
    }
    guard result.code == nil else { return }
    guard result.byteCount == 512 * run.count, let buffer = done.buffer else {
      throw ClientError("seed \(seed): operation \(tag) brought \(result.byteCount) bytes")
    }
    try check(buffer, from: run.first)
  }

  private func check(_ buffer: borrowing DMABuffer, from first: Int) throws {
    let wrong = buffer.wrongSector { allowed[first + $0].contains($1) }
    if let wrong {
      throw ClientError("seed \(seed): sector \(first + wrong) holds what nobody wrote there last")
    }
  }

  /// Reads everything back.
  func verifyAll(_ queue: inout VBlkDriver.Queue) throws {
    for first in stride(from: 0, to: sectors, by: 256) {
      var buffer = try bench.device.memory.allocate(byteCount: 256 * 512)
      try queue.read(at: UInt64(first) * 512, into: &buffer)
      try check(buffer, from: first)
    }
  }
}

extension DMABuffer {
  /// The first sector whose two stamps differ, or whose stamp is not allowed.
  func wrongSector(_ isAllowed: (Int, UInt64) -> Bool) -> Int? {
    withUnsafeBytes { bytes in
      (0..<bytes.count / 512).first { sector in
        let head = bytes.loadUnaligned(fromByteOffset: sector * 512, as: UInt64.self)
        let tail = bytes.loadUnaligned(fromByteOffset: sector * 512 + 504, as: UInt64.self)
        return head != tail || !isAllowed(sector, head)
      }
    }
  }
}
