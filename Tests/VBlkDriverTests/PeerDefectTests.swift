import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What went wrong in other drivers, as tests: rows P01-P32 of facts/peers.md, b, that a PCI driver
/// meets on the emulator. P14 and P25 have more in ``FeatureRuleTests`` and ``HostileRingTests``.
///
/// Not here: P05-P08, P10, P24 (reset, liveness and two-thread tests have them), P12, P13, P26, P30
/// (``HostileRingTests``, ``QueueRuleTests``), P15, P16, P19, P20, P27, P29, P33 (vhost-user).
@Suite("Defects of peers")
struct PeerDefectTests {
  /// A list of `count` segments of 512 bytes, all parts of one buffer.
  static func list(_ rig: Rig, _ count: Int) throws -> SegmentList {
    var list = SegmentList(segmentCapacity: count, bufferCapacity: 1)
    let index = list.add(try rig.buffer(512 * min(count, 64)))
    for place in 0..<count {
      list.append(bufferAt: index, offset: 512 * (place % 64), byteCount: 512)
    }
    return list
  }

  @Test("P01 300 segments on a ring of 256 with seg_max 126 end, and the queue goes on")
  func p01() throws {
    let rig = try Rig(disk: { $0.queueSize = 256 }, options: { $0.depth = 256 })
    var queue = try rig.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try Self.list(rig, 300), tag: 1) else {
      Issue.record("refused")
      return
    }
    queue.kick()
    let ended = queue.take()
    #expect(ended?.result == IOResult(byteCount: 153_600, code: nil))
    #expect(queue.statistics.requests == 3)
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("P02 a discard of 4 TiB is split; a full ring and an impossible request differ")
  func p02() throws {
    let tebibyte = UInt64(1) << 40
    let rig = try Rig(
      disk: {
        $0.contents = .null(byteCount: 8 * tebibyte)
        $0.maxDiscardSectors = .max
        $0.maxDiscardSegments = 1
        $0.mode = .stepped
      }, options: { $0.depth = 4 })
    var queue = try rig.device.makeQueue()
    #expect(queue.submitDiscard(at: 0, byteCount: 4 * tebibyte, tag: 1) == .queued)
    // Three requests of at most 2^32 - 1 sectors, and one more.
    #expect(queue.submitFlush(tag: 2) == .queued)
    #expect(queue.submitFlush(tag: 9) == .refused(.busy), "full: try again")
    #expect(
      queue.submitDiscard(at: 4 * tebibyte, byteCount: 5 * tebibyte, tag: 9)
        == .refused(.noSpace), "impossible, and not called full")
    queue.kick()
    rig.disk.serve(queue: 0)
    let ended = queue.takeAll(3, 5000).map(\.tag).sorted()
    #expect(ended == [1, 2])
    #expect(queue.statistics.requests == 4)
  }

  @Test("P03 any number of segments on any ring ends or is refused")
  func p03() throws {
    for size in [1, 2, 4, 8, 16, 64] {
      for indirect in [true, false] where indirect || size >= 4 {
        let rig = try Rig(
          disk: {
            $0.queueSize = size
            if !indirect { $0.withheld = .indirectDescriptors }
          }, options: { $0.depth = size })
        var queue = try rig.device.makeQueue()
        for count in Set([1, 2, 3, 5, size - 1, size, size + 1, 2 * size, 2 * size + 5, 300])
        where count > 0 {
          guard case .queued = queue.submitRead(at: 0, into: try Self.list(rig, count), tag: 1)
          else {
            Issue.record("refused: ring \(size) indirect \(indirect) segments \(count)")
            continue
          }
          queue.kick()
          let ended = queue.take(20_000)
          #expect(
            ended?.result == IOResult(byteCount: 512 * count, code: nil),
            "ring \(size) indirect \(indirect) segments \(count)")
          let atRest = queue.isAtRest
          #expect(atRest)
        }
        #expect(rig.disk.violations.isEmpty)
      }
    }
  }

  @Test("P04 a ring of N holds N indirect requests, floor(N/3) chained ones")
  func p04() throws {
    for size in [4, 8, 128, 256] {
      for indirect in [true, false] {
        let rig = try Rig(
          disk: {
            $0.mode = .stepped
            $0.queueSize = size
            if !indirect { $0.withheld = .indirectDescriptors }
          }, options: { $0.depth = size })
        var queue = try rig.device.makeQueue()
        var count = 0
        while count <= size, try queue.queueRead(rig, at: 0, 512, tag: UInt64(count)) { count += 1 }
        #expect(count == (indirect ? size : size / 3))
        #expect(queue.depth == count)
        queue.kick()
        rig.disk.serve(queue: 0)
        let ended = queue.takeAll(size + 1, 5000)
        #expect(ended.count == count)
      }
    }
  }

  @Test("P09 a kick is sent exactly when the batch crosses avail_event, across the index's wrap")
  func p09() throws {
    let (rig, _) = try Gate.rig()
    var kicks = 0
    var wrapped = 0
    for start in (65_528...65_535).map(UInt16.init) + Array(0..<4) {
      for batch in 1...4 as ClosedRange<UInt16> {
        for ahead in -3...6 {
          var queue = try rig.device.makeQueue(at: start, rig)
          let ring = RingView(queue, rig.function)
          let event = start &+ UInt16(truncatingIfNeeded: ahead)
          ring.availEvent = event
          for tag in 0..<UInt64(batch) { _ = try queue.queueRead(rig, tag: tag) }
          let before = rig.function.events.stores(.doorbell(0)).count
          queue.kick()
          let sent = rig.function.events.stores(.doorbell(0)).count - before
          let wanted = (0..<batch).contains { start &+ $0 == event }
          #expect(sent == (wanted ? 1 : 0), "start \(start) batch \(batch) event \(event)")
          kicks += sent
          if start &+ batch < start { wrapped += sent }
          for chain in ring.chains(from: start) { ring.complete(chain) }
          let ended = queue.takeAll(Int(batch))
          #expect(ended.count == Int(batch))
          rig.function.clear()
        }
      }
    }
    #expect(kicks == 12 * (1 + 2 + 3 + 4))
    #expect(wrapped > 0)
  }

  @Test("P11 a polling driver asks for no interrupt, also once round the index", arguments: [1, 8])
  func p11(depth: Int) throws {
    for eventIndex in [true, false] {
      let rig = try Rig(
        disk: { if !eventIndex { $0.withheld = .eventIndex } }, options: { $0.depth = depth })
      rig.function.stopRecording()
      var queue = try rig.device.makeQueue()
      for tag in 0..<depth { _ = try queue.queueRead(rig, at: 0, 512, tag: UInt64(tag)) }
      var ended = 0
      while ended < 70_000 {
        queue.kick()
        guard let done = queue.nextWithin(10), let buffer = done.buffer else {
          Issue.record("nothing after \(ended)")
          return
        }
        ended += 1
        _ = queue.submitRead(at: 0, into: buffer, tag: 0)
      }
      let counters = rig.disk.counters(queue: 0)
      #expect(counters.notifications == 0, "event index \(eventIndex)")
      #expect(counters.suppressedNotifications > 60_000 / UInt64(depth))
      queue.kick()
      _ = queue.takeAll(depth)
    }
  }

  @Test("P14 a capacity that changes between its halves is read again")
  func p14() throws {
    let configuration = {
      var configuration = EmulatedDisk.Configuration(.null(byteCount: ((1 << 32) - 1) << 9))
      configuration.name = "P14"
      return configuration
    }()
    let disk = try EmulatedDisk(configuration)
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      if register == .config(0, width: 4), count == 0 { try? disk.setCapacity(sectors: 1 << 32) }
      return value
    }
    var options = DeviceOptions()
    options.pages = .small
    let device = try Device(RecordingFunction(disk.function, script: script), options: options)
    #expect(device.info.capacityBytes == 1 << 41)
  }

  @Test("P17 size_max 0 limits nothing: a read of 1 MiB is one request of one segment")
  func p17() throws {
    let rig = try Rig(disk: {
      $0.sizeMax = 0
      $0.mode = .stepped
    })
    var queue = try rig.device.makeQueue()
    let queued = try queue.queueRead(rig, at: 0, 1 << 20)
    #expect(queued)
    queue.kick()
    let chains = RingView(queue, rig.function).chains(from: 0)
    #expect(chains.map { $0.data.map(\.length) } == [[1 << 20]])
    rig.disk.serve(queue: 0)
    let ended = queue.take()
    #expect(ended == Ended(tag: 0, bytes: 1 << 20))
  }

  @Test("P18 a discard whose end overflows is refused; a big one is split to the device's limit")
  func p18() throws {
    let rig = try Rig(disk: {
      $0.maxDiscardSectors = 64
      $0.maxDiscardSegments = 1
    })
    var queue = try rig.device.makeQueue()
    for (offset, count) in [
      (512, UInt64.max - 511), (UInt64.max - 511, 512), (UInt64.max - 511, 1024),
    ]
      as [(UInt64, UInt64)]
    {
      let submission = queue.submitDiscard(at: offset, byteCount: count, tag: 1)
      #expect(submission == .refused(.invalidArgument) || submission == .refused(.noSpace))
    }
    #expect(queue.statistics.requests == 0)
    try queue.discard(at: 0, byteCount: 1 << 20)
    #expect(queue.statistics.requests == 32)
    #expect(rig.disk.counters(queue: 0).failedRequests == 0)
  }

  @Test("P31 driver and device in one process: a write ends, inline and with a thread")
  func p31() throws {
    for mode in [EmulatedDisk.Mode.inline, .threaded] {
      let rig = try Rig(disk: { $0.mode = mode })
      var queue = try rig.device.makeQueue()
      for _ in 0..<50 {
        let works = try queue.works(rig)
        #expect(works)
      }
    }
  }
}
