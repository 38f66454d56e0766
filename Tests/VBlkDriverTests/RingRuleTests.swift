import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do with a split ring: rows 43-51 of the driver checklist (virtio 1.2, 2.7).
/// Rows are those of facts/virtio.md, 1a.
///
/// Not tested here: the orders of rows 47 and 48, which one thread can't show (the two-thread tests
/// and the thread sanitizer run them; SplitRing names each fence); of row 48 the wait for
/// interrupts, which a polled driver does not do.
@Suite("Driver rules: split ring")
struct RingRuleTests {
  /// The shapes of ring that build chains in different ways.
  struct Shape: CustomTestStringConvertible, Sendable {
    let size: Int
    let isIndirect: Bool
    var segMax: UInt32? = 126
    var sizeMax: UInt32?

    var testDescription: String {
      "size \(size) indirect \(isIndirect) segMax \(segMax ?? 0) sizeMax \(sizeMax ?? 0)"
    }

    static let all: [Shape] =
      [1, 2, 8, 128].map { Shape(size: $0, isIndirect: true) }
      + [4, 8, 128].map { Shape(size: $0, isIndirect: false) }
      + [
        Shape(size: 16, isIndirect: true, segMax: 1),
        Shape(size: 16, isIndirect: false, segMax: 2, sizeMax: 1024),
        Shape(size: 16, isIndirect: true, segMax: 5, sizeMax: 512),
      ]

    func open() throws -> Rig {
      try Rig(disk: {
        $0.mode = .stepped
        $0.queueSize = size
        $0.segMax = segMax
        $0.sizeMax = sizeMax
        if !isIndirect { $0.withheld = .indirectDescriptors }
      })
    }
  }

  /// Every kind of operation once, each run to its end; hands out all chains that were published.
  static func allChains(_ rig: Rig) throws -> [(chain: Chain, header: RequestHeader)] {
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    var chains: [(chain: Chain, header: RequestHeader)] = []
    var seen: UInt16 = 0
    for step in 0..<8 {
      let queued: Bool
      switch step {
      case 0: queued = try queue.queueRead(rig, at: 512, 512)
      case 1: queued = try queue.queueRead(rig, at: 0, 16384)
      case 2: queued = try submitList(&queue, rig, writes: false)
      case 3: queued = try submitList(&queue, rig, writes: true)
      case 4:
        if case .queued = queue.submitWrite(at: 100, from: try rig.buffer(1000), tag: 0) {
          queued = true
        } else {
          queued = false
        }
      case 5: queued = queue.submitFlush(tag: 0) == .queued
      case 6: queued = queue.submitDiscard(at: 0, byteCount: 65536, tag: 0) == .queued
      default: queued = queue.submitWriteZeroes(at: 0, byteCount: 65536, tag: 0) == .queued
      }
      #expect(queued, "step \(step)")
      queue.kick()
      for _ in 0..<2000 {
        for chain in ring.chains(from: seen) { chains.append((chain, ring.header(chain))) }
        seen = ring.availIndex
        rig.disk.serve(queue: 0)
        guard let ended = queue.take(1) else { continue }
        #expect(ended.result.code == nil, "step \(step)")
        break
      }
    }
    let atRest = queue.isAtRest
    #expect(atRest)
    return chains
  }

  /// 24 segments of 512 to 2,048 bytes in buffers of their own.
  private static func submitList(
    _ queue: inout Queue, _ rig: Rig, writes: Bool
  ) throws -> Bool {
    var list = SegmentList(segmentCapacity: 24)
    for index in 0..<24 { list.append(try rig.buffer(512 << (index % 3))) }
    if writes {
      if case .queued = queue.submitWrite(at: 4096, from: list, tag: 0) { return true }
    } else {
      if case .queued = queue.submitRead(at: 4096, into: list, tag: 0) { return true }
    }
    return false
  }

  // MARK: - Rows 43-46

  @Test("row 43: avail.idx only ever moves on, by what was submitted")
  func availIndexMovesOn() throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    var expected: UInt16 = 0
    for round in 1...40 as ClosedRange<UInt16> {
      for _ in 0..<round % 7 + 1 {
        let queued = try queue.queueRead(rig)
        #expect(queued)
        #expect(ring.availIndex == expected, "nothing is shown before the kick")
      }
      expected &+= round % 7 + 1
      queue.kick()
      #expect(ring.availIndex == expected)
      rig.disk.serve(queue: 0)
      let ended = queue.takeAll(Int(round % 7) + 1)
      #expect(ended.count == Int(round % 7) + 1)
      #expect(ring.availIndex == expected)
    }
  }

  @Test("row 43: what was exposed stays as it is until it is used")
  func exposedChainsStay() throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    for tag in 0..<4 as Range<UInt64> {
      let queued = try queue.queueRead(rig, at: tag * 4096, tag: tag)
      #expect(queued)
    }
    queue.kick()
    let before = ring.chains(from: 0)
    let headers = before.map { ring.header($0) }
    for tag in 4..<12 as Range<UInt64> {
      _ = try queue.queueRead(rig, at: tag * 4096, tag: tag)
      queue.kick()
      _ = queue.take(3)
    }
    for (index, chain) in before.enumerated() {
      let now = ring.chain(ring.availEntry(UInt16(index)))
      #expect(now.head == chain.head)
      #expect(now.descriptors == chain.descriptors)
      #expect(ring.header(now) == headers[index])
    }
    rig.disk.serve(queue: 0)
    let ended = queue.takeAll(12)
    #expect(ended.map(\.tag) == Array(0..<12))
  }

  @Test("row 44: no chain is longer than its ring, or has a loop", arguments: Shape.all)
  func chainLength(shape: Shape) throws {
    let rig = try shape.open()
    let chains = try Self.allChains(rig)
    #expect(chains.count >= 8)
    for (chain, _) in chains {
      // A table on a ring of 1 or 2 has the three entries that no request can do without.
      #expect(chain.descriptors.count <= max(3, shape.size))
      #expect(chain.ringDescriptors.count <= shape.size)
      let total = chain.descriptors.reduce(UInt64(0)) { $0 + UInt64($1.length) }
      #expect(total <= 1 << 32)
    }
    #expect(rig.disk.violations.isEmpty)
  }

  @Test("row 45: what the device reads stands before what it writes", arguments: Shape.all)
  func readableFirst(shape: Shape) throws {
    for (chain, header) in try Self.allChains(try shape.open()) {
      let writable = chain.descriptors.map { $0.flags.contains(.write) }
      let first = try #require(writable.firstIndex(of: true))
      #expect(writable[first...].allSatisfy { $0 }, "type \(header.type)")
      #expect(!writable[0], "the header is read")
      #expect(chain.descriptors.last?.length == 1, "the status comes last, by itself")
    }
  }

  @Test(
    "row 46: INDIRECT only where negotiated, never nested, never with NEXT", arguments: Shape.all)
  func indirect(shape: Shape) throws {
    let rig = try shape.open()
    #expect(rig.device.info.accepted.contains(.indirectDescriptors) == shape.isIndirect)
    for (chain, _) in try Self.allChains(rig) {
      #expect((chain.table != nil) == shape.isIndirect)
      #expect(chain.descriptors.allSatisfy { !$0.flags.contains(.indirect) }, "not nested")
      guard let table = chain.table else { continue }
      #expect(table.flags == .indirect, "without NEXT, and WRITE means nothing")
      #expect(table.length == 16 * UInt32(chain.descriptors.count))
      #expect(chain.ringDescriptors.count == 1)
    }
  }

  @Test("row 47: ring entry and chain stand before avail.idx shows them")
  func entryBeforeIndex() throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    let queued = try queue.queueRead(rig, at: 12288)
    #expect(queued)
    #expect(ring.availIndex == 0)
    #expect(rig.disk.available(queue: 0) == 0)
    let chain = ring.chain(ring.availEntry(0))
    #expect(ring.header(chain) == RequestHeader(type: 0, sector: 24))
    #expect(chain.dataBytes == 4096)
    let status = ring.bytes(try #require(chain.descriptors.last))
    #expect(status == [0xFF], "poisoned before it is shown (row 67)")
    queue.kick()
    rig.disk.serve(queue: 0)
    let ended = queue.take()
    #expect(ended == Ended(tag: 0, bytes: 4096))
  }

  // MARK: - Rows 49-51

  @Test("row 49: with EVENT_IDX avail.flags is 0 and used.flags ignored; without it flags count")
  func suppression() throws {
    for eventIndex in [true, false] {
      let rig = try Rig(disk: {
        $0.mode = .stepped
        if !eventIndex { $0.withheld = .eventIndex }
      })
      var queue = try rig.device.makeQueue()
      let ring = RingView(queue, rig.function)
      #expect(ring.availFlags == (eventIndex ? 0 : 1), "a poller wants no interrupts")
      var kicks = 0
      for (flags, event, wantsWithEvent) in [
        (0, 0, true), (1, 1, true), (0, 1, false), (1, 3, true), (0, 9, false), (1, 4, false),
        (0xFFFE, 6, true), (0, 0xFFFF, false),
      ] as [(UInt16, UInt16, Bool)] {
        ring.usedFlags = flags
        ring.availEvent = event
        let queued = try queue.queueRead(rig)
        #expect(queued)
        queue.kick()
        if eventIndex ? wantsWithEvent : flags & 1 == 0 { kicks += 1 }
        let doorbells = rig.function.events.stores(.doorbell(0)).count
        #expect(doorbells == kicks, "event index \(eventIndex) flags \(flags) event \(event)")
        #expect(ring.availFlags == (eventIndex ? 0 : 1))
      }
      #expect(queue.statistics.kicks == UInt64(kicks))
      #expect(queue.statistics.suppressedKicks == UInt64(8 - kicks))
      rig.disk.serve(queue: 0)
      let ended = queue.takeAll(8)
      #expect(ended.count == 8)
      #expect(rig.disk.counters(queue: 0).notifications == 0, "no interrupt was asked for")
    }
  }

  @Test("row 50: spurious notifications and used events change nothing")
  func spurious() throws {
    let rig = try Rig()
    rig.disk.misbehave([.notifiesTwice, .configInterruptStorm])
    var queue = try rig.device.makeQueue()
    for tag in 0..<300 as Range<UInt64> {
      let queued = try queue.queueRead(rig, tag: tag)
      #expect(queued)
      queue.kick()
      let ended = queue.take(3)
      #expect(ended == Ended(tag: tag, bytes: 4096))
    }
    #expect(queue.statistics.violations == 0)
  }

  @Test("row 51: only the first used.len bytes count as written", arguments: [1, 2, 513, 4096])
  func usedLength(length: UInt32) throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    let queued = try queue.queueRead(rig, tag: 5)
    #expect(queued)
    queue.kick()
    let chain = ring.chain(ring.availEntry(0))
    ring.writeStatus(chain, 0)
    ring.pushUsed(UInt32(chain.head), length)
    let ended = queue.take()
    #expect(ended == Ended(tag: 5, code: .shortTransfer), "never a partial success")
    let atRest = queue.isAtRest
    #expect(atRest)
  }
}
