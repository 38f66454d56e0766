import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Seeded random operations against a model of the disk's bytes.
@Suite("Random workloads")
struct RandomWorkloadTests {
  static let bytes = 64 << 10

  /// The shapes of ring and limit that change the way a request is built.
  struct Shape: CustomStringConvertible, Sendable {
    var depth = 16
    var indirect = true
    var segMax: UInt32? = 126
    var sizeMax: UInt32?
    var block: UInt32 = 512
    var scattered = false
    var bounce = 8
    /// Most entries of a packed ring; nil is a split ring.
    var packed: Int?
    var inOrder = false

    var description: String {
      func text(_ value: (some CustomStringConvertible)?) -> String { value?.description ?? "-" }
      return "depth \(depth) packed \(text(packed)) indirect \(indirect) segMax \(text(segMax)) "
        + "sizeMax \(text(sizeMax)) block \(block) scattered \(scattered) bounce \(bounce)"
        + (inOrder ? " in order" : "")
    }

    static let all: [Shape] =
      [
        Shape(), Shape(indirect: false), Shape(depth: 1), Shape(depth: 1, indirect: false),
        Shape(depth: 2, segMax: 1), Shape(depth: 4, indirect: false, segMax: 2, sizeMax: 512),
        Shape(depth: 8, segMax: 3, sizeMax: 1024), Shape(block: 4096),
        Shape(depth: 5, indirect: false, block: 4096, scattered: true),
        Shape(depth: 16, segMax: 7, scattered: true), Shape(depth: 4, bounce: 1),
        Shape(depth: 2, indirect: false, segMax: nil, bounce: 1),
      ]
      + [1, 2, 3, 5, 16].map { Shape(packed: $0) }
      + [3, 4, 5, 7, 16, 48].map { Shape(indirect: false, packed: $0) }
      + [
        Shape(depth: 5, segMax: 3, sizeMax: 1024, packed: 256), Shape(segMax: 1, packed: 5),
        Shape(depth: 5, indirect: false, block: 4096, scattered: true, packed: 256),
        Shape(depth: 7, indirect: false, segMax: 2, sizeMax: 512, packed: 256),
        Shape(segMax: 7, scattered: true, packed: 11), Shape(depth: 4, bounce: 1, packed: 64),
        Shape(indirect: false, segMax: nil, bounce: 1, packed: 8),
      ]
      + [
        Shape(inOrder: true), Shape(indirect: false, inOrder: true),
        Shape(depth: 1, indirect: false, inOrder: true), Shape(depth: 1, inOrder: true),
        Shape(depth: 5, indirect: false, block: 4096, scattered: true, inOrder: true),
        Shape(depth: 8, segMax: 3, sizeMax: 1024, bounce: 1, inOrder: true),
        Shape(packed: 1, inOrder: true), Shape(packed: 11, inOrder: true),
        Shape(indirect: false, packed: 3, inOrder: true),
        Shape(indirect: false, scattered: true, bounce: 1, packed: 31, inOrder: true),
      ]

    func open() throws -> Bench {
      try Bench(bytes: UInt64(RandomWorkloadTests.bytes)) {
        if !indirect { $0.withheld.insert(.indirectDescriptors) }
        if inOrder { $0.extra.insert(.inOrder) }
        if let packed {
          $0.extra.insert(.ringPacked)
          $0.queueSize = packed
        }
        $0.segMax = segMax
        $0.sizeMax = sizeMax
        $0.blockSize = block
      } options: {
        $0.depth = depth
        $0.bounceBlocks = bounce
        if scattered { $0.layout = .scattered(runByteCount: 4096, seed: 7) }
      }
    }
  }

  @Test("synchronous reads and writes of any range equal the model", arguments: Shape.all)
  func synchronous(shape: Shape) throws {
    let bench = try shape.open()
    var queue = try bench.device.makeQueue()
    var model = [UInt8](repeating: 0, count: Self.bytes)
    for seed in 1...6 as ClosedRange<UInt64> {
      var random = Seeded(seed)
      for step in 0..<40 {
        let offset = Int.random(in: 0..<Self.bytes, using: &random)
        let count = Int.random(in: 0...min(12_000, Self.bytes - offset), using: &random)
        try one(&queue, bench, &model, offset, count, &random)
        let atRest = queue.isAtRest
        #expect(atRest, "seed \(seed) step \(step) \(shape)")
      }
    }
    try verify(&queue, bench, model, "\(shape)")
  }

  private func one(
    _ queue: inout Queue, _ bench: Bench, _ model: inout [UInt8], _ offset: Int, _ count: Int,
    _ random: inout Seeded
  ) throws {
    let salt = UInt8.random(in: 0...255, using: &random)
    let durable = Bool.random(using: &random)
    let data = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 13) &+ salt }
    switch Int.random(in: 0..<6, using: &random) {
    case 0:
      let buffer = try bench.buffer(max(1, count)) { $0 < count ? data[$0] : 0 }
      var mutable = buffer
      mutable.byteCount = count
      let writeCount = try queue.write(at: UInt64(offset), from: mutable, durable: durable)
      #expect(writeCount == count)
      model.replaceSubrange(offset..<(offset + count), with: data)
    case 1:
      var buffer = try bench.buffer(max(1, count))
      buffer.byteCount = count
      let readCount = try queue.read(at: UInt64(offset), into: &buffer)
      #expect(readCount == count)
      #expect(buffer.contents == Array(model[offset..<(offset + count)]))
    case 2:
      let written = try data.withUnsafeBytes { raw throws in
        try queue.write(at: UInt64(offset), from: raw, durable: durable)
      }
      #expect(written == count)
      model.replaceSubrange(offset..<(offset + count), with: data)
    case 3:
      var into = [UInt8](repeating: 0xEE, count: count)
      let readCount = try into.withUnsafeMutableBytes { raw throws in
        try queue.read(at: UInt64(offset), into: raw)
      }
      #expect(readCount == count)
      #expect(into == Array(model[offset..<(offset + count)]))
    case 4 where count > 0:
      let list = try segments(bench, data, &random)
      let writeCount = try queue.write(at: UInt64(offset), from: list, durable: durable)
      #expect(writeCount == count)
      model.replaceSubrange(offset..<(offset + count), with: data)
    default: try queue.flush()
    }
  }

  /// `data` cut at random places into buffers of its own.
  private func segments(
    _ bench: Bench, _ data: [UInt8], _ random: inout Seeded
  ) throws -> SegmentList {
    var list = SegmentList(segmentCapacity: 64)
    var start = 0
    while start < data.count {
      let left = data.count - start
      let count =
        list.count == 63 ? left : min(left, Int.random(in: 1...3000, using: &random))
      let from = start
      list.append(try bench.buffer(count) { data[from + $0] })
      start += count
    }
    return list
  }

  private func verify(
    _ queue: inout Queue, _ bench: Bench, _ model: [UInt8], _ label: String
  ) throws {
    var whole = try bench.buffer(Self.bytes)
    let readCount = try queue.read(at: 0, into: &whole)
    #expect(readCount == Self.bytes)
    #expect(whole.contents == model, "\(label)")
    #expect(queue.statistics.violations == 0 && queue.statistics.resets == 0, "\(label)")
    #expect(bench.disk.violations.isEmpty, "\(label)")
  }

  @Test("T55 random-write-verify: many in flight, unaligned and overlapping", arguments: Shape.all)
  func asynchronous(shape: Shape) throws {
    let bench = try shape.open()
    var queue = try bench.device.makeQueue()
    var model = [UInt8](repeating: 0, count: Self.bytes)
    for seed in 1...4 as ClosedRange<UInt64> {
      var random = Seeded(seed)
      for round in 0..<20 {
        var accepted = 0
        var completed = 0
        // The blocks that this round's operations touch: overlapping ones run in order only where
        // one of them is unaligned, so aligned ones are kept apart.
        var touched = Set<Int>()
        for _ in 0..<12 {
          let offset = Int.random(in: 0..<(Self.bytes - 9000), using: &random)
          let count = Int.random(in: 1...9000, using: &random)
          let blocks = Set((offset / 4096)...((offset + count - 1) / 4096))
          guard blocks.isDisjoint(with: touched) else { continue }
          touched.formUnion(blocks)
          let salt = UInt8.random(in: 0...255, using: &random)
          let buffer = try bench.buffer(count) { UInt8(truncatingIfNeeded: $0 &* 5) &+ salt }
          let data = buffer.contents
          switch queue.submitWrite(
            at: UInt64(offset), from: buffer, tag: UInt64(count), durable: salt & 1 == 0)
          {
          case .queued:
            accepted += 1
            model.replaceSubrange(offset..<(offset + count), with: data)
          case .refused(let code, _): #expect(code == .busy)
          case .completed: Issue.record("a write of \(count) bytes ended inside submit")
          }
        }
        queue.kick()
        while completed < accepted {
          guard let done = queue.nextWithin() else {
            Issue.record("lost: \(completed) of \(accepted), seed \(seed) round \(round) \(shape)")
            return
          }
          #expect(done.result == IOResult(success: Int(done.tag)), "seed \(seed) \(shape)")
          completed += 1
        }
        let atRest = queue.isAtRest
        #expect(atRest, "seed \(seed) round \(round) \(shape)")
      }
    }
    try verify(&queue, bench, model, "\(shape)")
  }
}
