import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do with block requests: rows 58-67 of the driver checklist (virtio 1.2,
/// 5.2.6). Rows are those of facts/virtio.md, 1a.
///
/// Not tested: row 61, which is about what users may assume (the documentation says it). Rows 62,
/// 65 and 66 are in ``WriteCacheTests`` and ``ZoneRuleTests``.
@Suite("Driver rules: block requests")
struct BlockRuleTests {
  /// Operations of every kind, without data in common.
  enum Kind: CaseIterable, Sendable {
    case read, write, flush, discard, writeZeroes
  }

  /// Submits one operation of a kind; true where it was queued.
  private func submit(
    _ kind: Kind, _ queue: inout Queue, _ rig: Rig, at offset: UInt64, _ count: Int
  ) throws -> (queued: Bool, refused: VBlkError.Code?) {
    let plain: PlainSubmission
    switch kind {
    case .read:
      switch queue.submitRead(at: offset, into: try rig.buffer(count), tag: 1) {
      case .queued: return (true, nil)
      case .refused(let code, _): return (false, code)
      case .completed: return (false, nil)
      }
    case .write:
      switch queue.submitWrite(at: offset, from: try rig.buffer(count), tag: 1) {
      case .queued: return (true, nil)
      case .refused(let code, _): return (false, code)
      case .completed: return (false, nil)
      }
    case .flush: plain = queue.submitFlush(tag: 1)
    case .discard: plain = queue.submitDiscard(at: offset, byteCount: UInt64(count), tag: 1)
    case .writeZeroes:
      plain = queue.submitWriteZeroes(at: offset, byteCount: UInt64(count), mayUnmap: true, tag: 1)
    }
    switch plain {
    case .queued: return (true, nil)
    case .refused(let code): return (false, code)
    case .completed: return (false, nil)
    }
  }

  // MARK: - Row 58

  @Test(
    "row 58: nothing reaches beyond the capacity",
    arguments: [Kind.read, .write, .discard, .writeZeroes])
  func beyondTheEnd(kind: Kind) throws {
    let end = UInt64(1) << 20
    for (offset, count) in [
      (end, 4096), (end - 4096, 8192), (end + 4096, 512), (UInt64.max - 511, 512), (1 << 63, 4096),
    ] as [(UInt64, Int)] {
      let rig = try Rig(disk: { $0.mode = .stepped })
      var queue = try rig.device.makeQueue()
      let (queued, refused) = try submit(kind, &queue, rig, at: offset, count)
      queue.kick()
      let ring = RingView(queue, rig.function)
      for chain in ring.chains(from: 0) {
        let header = ring.header(chain)
        #expect(header.sector << 9 + UInt64(chain.dataBytes) <= end, "cut at the end")
      }
      #expect(queued == (kind == .read && offset == end - 4096))
      if kind != .read {
        #expect(refused == .noSpace || refused == .invalidArgument, "\(kind) at \(offset)")
      }
      rig.disk.serve(queue: 0)
      let ended = queue.take(2000)
      #expect(ended == (queued ? Ended(tag: 1, bytes: 4096) : nil))
      #expect(rig.disk.counters(queue: 0).failedRequests == 0)
    }
  }

  @Test(
    "row 58: a capacity that changes while the device runs is read again", arguments: [64, 4096])
  func resized(sectors: UInt64) throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    let before = try queue.works(rig)
    #expect(before)
    try rig.disk.setCapacity(sectors: sectors)
    _ = queue.take(200_000)
    var buffer = try rig.buffer(4096)
    let last = try queue.read(at: sectors * 512 - 4096, into: &buffer)
    #expect(last == 4096)
    let beyond = try queue.read(at: sectors * 512, into: &buffer)
    #expect(beyond == 0)
    #expect(throws: VBlkError.self) {
      try queue.write(at: sectors * 512, from: try rig.buffer(512))
    }
    #expect(rig.disk.counters(queue: 0).failedRequests == 0)
  }

  // MARK: - Rows 59 and 60

  @Test(
    "row 59: IN and OUT move whole sectors, FLUSH nothing at sector 0, a range is 16 bytes",
    arguments: Kind.allCases)
  func requestShapes(kind: Kind) throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let (queued, _) = try submit(kind, &queue, rig, at: 8192, 12288)
    #expect(queued)
    queue.kick()
    let ring = RingView(queue, rig.function)
    let chains = ring.chains(from: 0)
    #expect(chains.count == 1)
    let chain = try #require(chains.first)
    let header = ring.header(chain)
    #expect(header.reserved == 0)
    switch kind {
    case .read, .write:
      #expect(header == RequestHeader(type: kind == .read ? 0 : 1, sector: 16))
      #expect(chain.dataBytes == 12288)
      #expect(chain.data.allSatisfy { $0.flags.contains(.write) == (kind == .read) })
    case .flush:
      #expect(header == RequestHeader(type: 4, sector: 0))
      #expect(chain.dataBytes == 0 && chain.data.isEmpty)
    case .discard, .writeZeroes:
      #expect(header == RequestHeader(type: kind == .discard ? 11 : 13, sector: 0))
      let data = try #require(chain.data.first)
      #expect(chain.data.count == 1 && data.length == 16 && !data.flags.contains(.write))
      let range = ring.host(data.address).loadUnaligned(as: RangeSegment.self)
      // unmap is for write-zeroes alone (row 60).
      let flags: UInt32 = kind == .discard ? 0 : 1
      #expect(range == RangeSegment(sector: 16, sectorCount: 24, flags: flags))
    }
    rig.disk.serve(queue: 0)
    let ended = queue.take()
    #expect(ended?.result.code == nil)
  }

  @Test("row 59: an unaligned range moves whole sectors too", arguments: [1, 511, 513, 1000])
  func unaligned(count: Int) throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    for kind in [Kind.read, .write] {
      let (queued, _) = try submit(kind, &queue, rig, at: 700, count)
      #expect(queued)
      queue.kick()
      var ended: Ended?
      var seen = ring.availIndex &- 1
      for _ in 0..<20 where ended == nil {
        for chain in ring.chains(from: seen) {
          #expect(chain.dataBytes % 512 == 0 && chain.dataBytes > 0)
        }
        seen = ring.availIndex
        rig.disk.serve(queue: 0)
        ended = queue.take(2)
      }
      #expect(ended == Ended(tag: 1, bytes: count))
    }
  }

  @Test("row 59: GET_ID asks for exactly 20 bytes and takes an id without NUL")
  func identify() throws {
    for serial in ["", "x", "12345678901234567890"] {
      let rig = try Rig(disk: { $0.serial = serial })
      var queue = try rig.device.makeQueue()
      let answer = try queue.identify()
      #expect(answer == serial)
      let ring = RingView(queue, rig.function)
      let chain = ring.chain(ring.availEntry(0))
      #expect(ring.header(chain) == RequestHeader(type: 8, sector: 0))
      #expect(chain.data.map(\.length) == [20])
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("row 60: ranges are one segment each, cut to max_discard and max_write_zeroes")
  func rangesAreCut() throws {
    for kind in [Kind.discard, .writeZeroes] {
      let rig = try Rig(
        disk: {
          $0.mode = .stepped
          $0.maxDiscardSectors = 100
          $0.maxWriteZeroesSectors = 60
          $0.maxDiscardSegments = 1
          $0.maxWriteZeroesSegments = 1
        }, options: { $0.depth = 64 })
      var queue = try rig.device.makeQueue()
      let (queued, _) = try submit(kind, &queue, rig, at: 512, 1 << 19)
      #expect(queued)
      queue.kick()
      let ring = RingView(queue, rig.function)
      let most: UInt32 = kind == .discard ? 100 : 60
      var next: UInt64 = 1
      for chain in ring.chains(from: 0) {
        let data = try #require(chain.data.first)
        let range = ring.host(data.address).loadUnaligned(as: RangeSegment.self)
        #expect(range.sector == next && range.sectorCount <= most && range.sectorCount > 0)
        next += UInt64(range.sectorCount)
      }
      #expect(next == 1025, "all of it, once, in order")
      rig.disk.serve(queue: 0)
      let ended = queue.take()
      #expect(ended?.result == IOResult(byteCount: 1 << 19, code: nil))
    }
  }

  // MARK: - Rows 63, 64, 67

  @Test("row 63: the cache is write-through without FLUSH, as `writeback` says with CONFIG_WCE")
  func cacheModel() throws {
    for (withheld, writeback, isVolatile) in [
      ([.flush, .configWriteCache], true, false), (.configWriteCache, true, true),
      (.configWriteCache, false, true), ([], true, true), ([], false, false),
    ] as [(Features, Bool, Bool)] {
      let rig = try Rig(disk: {
        $0.withheld = withheld
        $0.writeback = writeback
      })
      #expect(rig.device.info.hasVolatileCache == isVolatile, "\(withheld.described) \(writeback)")
      var queue = try rig.device.makeQueue()
      let written = try queue.write(at: 0, from: try rig.buffer(), durable: true)
      #expect(written == 4096)
      let requests = queue.statistics.requests
      #expect(requests == (isVolatile ? 2 : 1), "a durable write flushes only a volatile cache")
    }
  }

  @Test(
    "row 64: seg_max and size_max hold for each request", arguments: [1, 2, 7, 126] as [UInt32],
    [512, 1536, 4096, 65536] as [UInt32])
  func segmentLimits(segMax: UInt32, sizeMax: UInt32) throws {
    for isIndirect in [true, false] {
      let rig = try Rig(disk: {
        $0.mode = .stepped
        $0.segMax = segMax
        $0.sizeMax = sizeMax
        if !isIndirect { $0.withheld = .indirectDescriptors }
      })
      let chains = try RingRuleTests.allChains(rig)
      for (chain, header) in chains where header.type <= 1 {
        #expect(chain.data.count <= Int(segMax))
        #expect(chain.data.allSatisfy { $0.length <= sizeMax && $0.length > 0 })
      }
      #expect(chains.contains { $0.chain.data.count == min(Int(segMax), 24) } || sizeMax < 2048)
    }
  }

  @Test("row 64: without SEG_MAX a request has one data segment")
  func noSegMax() throws {
    let rig = try Rig(disk: {
      $0.mode = .stepped
      $0.segMax = nil
    })
    for (chain, _) in try RingRuleTests.allChains(rig) { #expect(chain.data.count <= 1) }
  }

  @Test(
    "row 67, T31: each status has its one meaning",
    arguments: [
      (0, nil), (1, .ioError), (2, .unsupported), (3, .unknownStatus), (4, .unknownStatus),
      (5, .unknownStatus), (6, .unknownStatus), (7, .unknownStatus), (0x7F, .unknownStatus),
      (0x80, .unknownStatus), (0xFE, .unknownStatus),
      (0xFF, .protocolViolation),
    ] as [(UInt8, VBlkError.Code?)])
  func statuses(status: UInt8, code: VBlkError.Code?) throws {
    for kind in Kind.allCases {
      let rig = try Rig(disk: { $0.mode = .stepped })
      var queue = try rig.device.makeQueue()
      let (queued, _) = try submit(kind, &queue, rig, at: 0, 4096)
      #expect(queued)
      queue.kick()
      let ring = RingView(queue, rig.function)
      ring.complete(ring.chain(ring.availEntry(0)), status: status)
      let ended = queue.take(2000)
      #expect(ended?.result.code == code, "\(kind) \(status)")
      let extra = queue.take(2000)
      #expect(extra == nil)
      let atRest = queue.isAtRest
      #expect(atRest)
      #expect(queue.statistics.violations == (code == .protocolViolation ? 1 : 0))
      guard code == .unknownStatus else { continue }
      let said = queue.error(for: .unknownStatus).description
      #expect(said.contains("status \(status)") && said.contains("virtio 1.3, 5.2.6"), "\(said)")
    }
  }
}
