import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// T63 power-cut, and T58-T62 seen from the client: what was acknowledged as durable is there after
/// any power cut, the rest is some version of each sector, and the driver goes on.
@Suite("Durability", .onEachRing)
struct DurabilityTests {
  private static let size = 64 * 1024

  private func bench(
    _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> Bench {
    try Bench(
      bytes: UInt64(Self.size),
      disk: {
        $0.modelsCache = true
        $0.mode = .stepped
        edit(&$0)
      }, options: { $0.depth = 16 })
  }

  /// What operations are under way, by tag.
  private struct Client {
    var oracle = DurabilityOracle([UInt8](repeating: 0, count: DurabilityTests.size))
    var writes: [UInt64: (name: Int, isDurable: Bool)] = [:]
    var flushes: [UInt64: Int] = [:]
    var acknowledged = 0

    mutating func take(_ done: consuming Completion) {
      guard done.result.code == nil else { return }
      if let write = writes[done.tag] {
        oracle.complete(write.name, isStable: write.isDurable)
        if write.isDurable { acknowledged += 1 }
      } else if let flush = flushes[done.tag] {
        oracle.completeFlush(flush)
        acknowledged += 1
      }
    }
  }

  private func submit(
    _ queue: inout Queue, _ bench: Bench, _ client: inout Client, _ random: inout Seeded,
    tag: UInt64
  ) throws {
    if Int.random(in: 0..<6, using: &random) == 0 {
      let flush = client.oracle.submitFlush()
      if queue.submitFlush(tag: tag) == .queued { client.flushes[tag] = flush }
      return
    }
    let count = 512 * Int.random(in: 1...16, using: &random)
    let offset = 512 * Int.random(in: 0...(Self.size - count) / 512, using: &random)
    let value = UInt8(truncatingIfNeeded: tag &* 13 &+ 1)
    let isDurable = Bool.random(using: &random)
    let buffer = try bench.buffer(count) { _ in value }
    let before = client.oracle
    let name = client.oracle.submitWrite(
      at: UInt64(offset), [UInt8](repeating: value, count: count))
    switch queue.submitWrite(at: UInt64(offset), from: buffer, tag: tag, durable: isDurable) {
    case .queued: client.writes[tag] = (name, isDurable)
    case .completed: client.oracle = before
    case .refused: client.oracle = before
    }
  }

  /// Everything on the disk, read once the queue has seen the reset.
  private func contents(_ queue: inout Queue, _ bench: Bench) throws -> [UInt8] {
    for _ in 0..<10 { _ = queue.next() }
    guard
      case .queued = queue.submitRead(at: 0, into: try bench.buffer(Self.size), tag: .max)
    else { return [] }
    for _ in 0..<10_000 {
      queue.kick()
      bench.disk.serve(queue: 0)
      guard let done = queue.next() else { continue }
      if done.tag == .max { return done.result.code == nil ? done.buffer?.contents ?? [] : [] }
    }
    return []
  }

  /// A seeded run up to a power cut.
  ///
  /// - Returns: What the oracle says of the contents after it, and what was acknowledged.
  private func run(
    _ seed: UInt64, _ loss: PowerLoss, _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> (illegal: IllegalSector?, acknowledged: Int, volatile: Int) {
    let bench = try bench(edit)
    var queue = try bench.device.makeQueue()
    var client = Client()
    var random = Seeded(seed)
    for tag in 0..<UInt64.random(in: 5...60, using: &random) {
      try submit(&queue, bench, &client, &random, tag: tag)
      queue.kick()
      bench.disk.serve(queue: 0, max: Int.random(in: 0...3, using: &random))
      if Bool.random(using: &random), let done = queue.next() { client.take(done) }
    }
    let volatile = bench.disk.volatileWrites
    try bench.disk.cutPower(loss)
    // What the driver had seen on the ring before may still be told; what it had not ends with an
    // error once it looks.
    bench.device.reset()
    for _ in 0..<200 {
      guard let done = queue.next() else { continue }
      client.take(done)
    }
    let left = try contents(&queue, bench)
    #expect(left.count == Self.size, "seed \(seed): the driver goes on")
    return (client.oracle.firstIllegal(in: left), client.acknowledged, volatile)
  }

  private static func loss(_ seed: UInt64) -> PowerLoss {
    switch seed % 5 {
    case 0: .losesAll
    case 1: .losesNothing
    case 2: .keepsPrefix(seed: seed)
    case 3: .keepsSome(seed: seed)
    default: .tears(seed: seed)
    }
  }

  @Test("T63: whatever the power cut keeps, the oracle allows it; durable writes are there")
  func powerCut() throws {
    var acknowledged = 0
    var volatile = 0
    for seed in 1...60 as ClosedRange<UInt64> {
      for writeback in [true, false] {
        let result = try run(seed, Self.loss(seed)) { $0.writeback = writeback }
        #expect(
          result.illegal == nil,
          "seed \(seed) writeback \(writeback): \(result.illegal?.description ?? "")")
        acknowledged += result.acknowledged
        volatile += result.volatile
      }
    }
    #expect(acknowledged > 500 && volatile > 50, "\(acknowledged) \(volatile)")
  }

  @Test("T63 isn't vacuous: flushes that do nothing are found")
  func lostFlush() throws {
    var found = 0
    for seed in 1...20 as ClosedRange<UInt64> {
      let result = try run(seed, .losesAll) {
        $0.faults = [FaultRule(.lose, operations: [.flush])]
      }
      if result.illegal != nil { found += 1 }
    }
    #expect(found > 0)
  }

  @Test("T63: a durable write cut at each step is whole once it was acknowledged")
  func eachStep() throws {
    for loss in (0..<5 as Range<UInt64>).map(Self.loss) {
      for served in 0...3 {
        let bench = try bench()
        var queue = try bench.device.makeQueue()
        guard
          case .queued = queue.submitWrite(
            at: 4096, from: try bench.buffer(8192, fill: { _ in 7 }), tag: 1, durable: true)
        else {
          Issue.record("refused")
          return
        }
        var ended: IOResult?
        for _ in 0..<served {
          queue.kick()
          bench.disk.serve(queue: 0, max: 1)
          if let done = queue.next() { ended = done.result }
        }
        try bench.disk.cutPower(loss)
        bench.device.reset()
        for _ in 0..<100 where ended == nil {
          if let done = queue.next() { ended = done.result }
        }
        #expect((ended?.code == nil) == (served >= 2), "\(loss) \(served)")
        let left = try contents(&queue, bench)
        let isWhole = left.count == Self.size && left[4096..<12_288].allSatisfy { $0 == 7 }
        #expect(isWhole || ended?.code != nil, "\(loss) \(served)")
        #expect(left.count == Self.size)
        guard left.count == Self.size else { continue }
        #expect(left[..<4096].allSatisfy { $0 == 0 } && left[12_288...].allSatisfy { $0 == 0 })
      }
    }
  }
}
