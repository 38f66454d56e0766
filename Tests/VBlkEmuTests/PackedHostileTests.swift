import Testing
import VBlkEmu
import Virtio

/// The hostile-driver table on packed rings.
@Suite("hostile drivers, packed") struct PackedHostileTests {
  let driver: MiniDriver

  init() throws { driver = try PackedRingTests.driver(size: 8) }

  /// The queue is broken for that reason, takes nothing more, and a reset brings it back.
  func expectBroken(_ reason: Violation.Reason, _ place: SourceLocation = #_sourceLocation) {
    let last = driver.disk.violations.last
    #expect(last?.reason == reason, sourceLocation: place)
    #expect(last?.consequence == .queueBroken, sourceLocation: place)
    #expect(driver.status.contains(.needsReset), sourceLocation: place)
    let requests = driver.disk.counters(queue: 0).requests
    driver.ring()
    #expect(driver.disk.counters(queue: 0).requests == requests, sourceLocation: place)
    driver.rings = []
    driver.start(size: 8)
    #expect(driver.performPacked(.flush)?.status == 0, sourceLocation: place)
  }

  var flush: [Piece] { driver.request(.flush, 0, []).pieces }
  /// Of the shape that is served without the walker.
  var read: [Piece] {
    driver.request(.read, 0, [.into(driver.address(driver.allocate(512)), 512)]).pieces
  }

  @Test("row 26: an id out of range", arguments: [8 as UInt16, 9, 0x8000, 0xFFFF])
  func idOutOfRange(id: UInt16) {
    for pieces in [flush, read] {
      driver.place(pieces, id: id)
      driver.kickPacked()
      expectBroken(.bufferIDOutOfRange)
      driver.placeTable(pieces, id: id)
      driver.kickPacked()
      expectBroken(.bufferIDOutOfRange)
    }
  }

  @Test("row 26: an id twice in one batch, or while it is held") func idInFlight() {
    for pieces in [flush, read] {
      driver.placeTable(pieces, id: 3)
      driver.placeTable(pieces, id: 3)
      driver.kickPacked()
      #expect(driver.usedPacked()?.id == 3)
      #expect(driver.peekUsed() == nil)
      expectBroken(.bufferIDInFlight)
    }
    driver.disk.setFaults([FaultRule(.hold, count: 1)])
    driver.place(read, id: 5)
    driver.kickPacked()
    driver.disk.setFaults([])
    driver.place(read, id: 5)
    driver.kickPacked()
    expectBroken(.bufferIDInFlight)
  }

  @Test("row 1: more made available than the ring has", arguments: [false, true])
  func overrun(list: Bool) {
    driver.disk.setFaults([FaultRule(.hold, count: 7)])
    for id: UInt16 in 0..<7 { driver.placeTable(read, id: id) }
    driver.kickPacked()
    driver.disk.setFaults([])
    // One slot is free; two of a list are not, and after one no other is.
    if list {
      driver.place(flush, id: 7)
    } else {
      driver.placeTable(flush, id: 7)
      driver.disk.setFaults([FaultRule(.hold, count: 1)])
      driver.kickPacked()
      #expect(driver.disk.violations.isEmpty)
      driver.placeTable(flush, id: 7)
    }
    driver.kickPacked()
    expectBroken(.ringOverrun)
  }

  @Test("row 1: lists overrun the ring while a held one takes part of it") func listOverrun() throws
  {
    let wide = try PackedRingTests.driver(size: 9)
    wide.disk.setFaults([FaultRule(.hold, count: 1)])
    for id: UInt16 in 0..<4 {
      let data: Piece = .into(wide.address(wide.allocate(512)), 512)
      wide.place(wide.request(.read, 0, [data]).pieces, id: id)
      if id == 0 {
        wide.kickPacked()
        wide.disk.setFaults([])
      }
    }
    wide.kickPacked()
    #expect(wide.reasons == [.ringOverrun])
    #expect(wide.disk.counters(queue: 0).requests == 2)
  }

  @Test("row 6: a list longer than the ring") func listTooLong() {
    let address = driver.address(driver.allocate(16))
    for _ in 0..<8 { driver.placeDescriptor(address, 1, 1, id: 0) }
    driver.kickPacked()
    expectBroken(.chainTooLong)
  }

  @Test("a list whose end is not available, or of the other turn", arguments: [false, true])
  func halfAList(otherTurn: Bool) {
    let pieces = read
    driver.place(pieces, id: 0)
    let second = driver.rings[0].descriptors + 16 + 14
    driver.store(second, otherTurn ? UInt16(0x8003) : 3)
    driver.kickPacked()
    expectBroken(.listNotAvailable)
  }

  @Test("rows 10, 12: INDIRECT without the feature, with NEXT, behind another") func indirect() {
    driver.placeDescriptor(driver.address(driver.allocate(48)), 48, 5, id: 0)
    driver.placeDescriptor(driver.address(driver.allocate(48)), 48, 2, id: 0)
    driver.kickPacked()
    expectBroken(.indirectWithNext)
    driver.placeDescriptor(driver.parts(4, 0).header, 16, 1, id: 0)
    driver.placeDescriptor(driver.address(driver.allocate(48)), 48, 4, id: 0)
    driver.kickPacked()
    expectBroken(.indirectWithNext)
    driver.rings = []
    driver.start(without: .indirectDescriptors, size: 8)
    driver.placeTable(read, id: 0)
    driver.kickPacked()
    expectBroken(.indirectNotNegotiated)
  }

  @Test("row 13: tables of no or half a descriptor", arguments: [0 as UInt32, 8, 40, 16_400])
  func tableLengths(length: UInt32) {
    driver.placeDescriptor(driver.address(driver.allocate(64)), length, 4, id: 0)
    driver.kickPacked()
    expectBroken(length % 16 == 0 && length > 0 ? .chainTooLong : .indirectLengthInvalid)
  }

  @Test("rows 11, 14, 16: a table in a table, outside memory, with the wrong order") func tables() {
    let request = driver.request(.flush, 0, []).pieces
    for (reason, flags): (Violation.Reason, [UInt16]) in [
      (.indirectNested, [4, 2]), (.readableAfterWritable, [2, 0]), (.indirectNested, [0, 6]),
    ] {
      let table = driver.allocate(32)
      for index in 0..<2 {
        driver.writePacked(
          at: table + 16 * index, request[index].address, request[index].length, 0, flags[index])
      }
      driver.placeDescriptor(driver.address(table), 32, 4, id: 0)
      driver.kickPacked()
      expectBroken(reason)
    }
    driver.placeDescriptor(0x1000, 48, 4, id: 0)
    driver.kickPacked()
    expectBroken(.indirectUnmapped)
    driver.placeDescriptor(request[1].address, 1, 3, id: 0)
    driver.placeDescriptor(request[0].address, 16, 0, id: 0)
    driver.kickPacked()
    expectBroken(.readableAfterWritable)
  }

  @Test(
    "other flags in a table mean nothing, and are named", arguments: [1 as UInt16, 0x80, 0x8000])
  func tableFlags(flags: UInt16) {
    let request = driver.request(.read, 0, [.into(driver.address(driver.allocate(512)), 512)])
    let table = driver.allocate(48)
    for (index, piece) in request.pieces.enumerated() {
      driver.writePacked(
        at: table + 16 * index, piece.address, piece.length, 0,
        (piece.writable ? 2 : 0) | (index == 1 ? flags : 0))
    }
    driver.placeDescriptor(driver.address(table), 48, 4, id: 0)
    driver.rings[0].packed.lists.append(.init(id: 0, span: 1))
    driver.kickPacked()
    #expect(driver.usedPacked()?.length == 513)
    #expect(driver.reasons == [.tableFlagsReserved])
    #expect(driver.performPacked(.flush)?.status == 0)
  }

  @Test("rows 8, 17: data outside memory fails, a header missing goes back") func requests() {
    #expect(driver.performPacked(.read, 0, [.into(0x1000, 512)])?.status == 1)
    #expect(driver.reasons.last == .bufferUnmapped)
    driver.place([.into(driver.parts(0, 0).status, 1)], id: 1)
    driver.kickPacked()
    #expect(driver.usedPacked()?.length == 0)
    #expect(driver.reasons.last == .headerMissing)
  }

  @Test("row 35: areas misaligned, overlapping, unmapped; a format that changes") func areas() {
    let good = [0x10_0000, 0x20_0000, 0x30_0000].map { driver.address($0) }
    let cases: [([UInt64], Violation.Reason)] = [
      ([good[0] + 8, good[1], good[2]], .areaMisaligned),
      ([good[0], good[1] + 2, good[2]], .areaMisaligned),
      ([good[0], good[1], good[2] + 2], .areaMisaligned),
      ([good[0], good[1], good[1]], .areasOverlap),
      ([good[0], good[0] + 124, good[2]], .areasOverlap),
      ([good[0], good[1], 0x1000], .areaUnmapped),
    ]
    for (areas, reason) in cases + [([good[0], good[0] + 128, good[0] + 132], .ringUnmapped)] {
      driver.negotiate()
      driver.write(CommonConfig.queueSize, 2, 8)
      driver.write64(CommonConfig.queueDescriptors, areas[0])
      driver.write64(CommonConfig.queueDriver, areas[1])
      driver.write64(CommonConfig.queueDevice, areas[2])
      driver.write(CommonConfig.queueEnable, 2, 1)
      // The last set is a good one.
      let refused = driver.status.contains(.needsReset)
      #expect(refused == (reason != .ringUnmapped))
      if refused { #expect(driver.reasons.last == reason) }
    }
    driver.status = []
    driver.setUp(0, size: 8)
    driver.negotiate()
    #expect(!driver.reasons.contains(.queueEnabledTooEarly))
    driver.status = []
    driver.rings = []
    driver.accept([])
    driver.setUp(0, size: 8)
    driver.status = .acknowledge
    driver.status = [.acknowledge, .driver]
    driver.accept(driver.offered)
    driver.status = [.acknowledge, .driver, .featuresOK]
    #expect(driver.reasons.last == .queueEnabledTooEarly)
    driver.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    driver.ring()
    #expect(driver.disk.counters(queue: 0).requests == 0)
  }

  @Test("row 41: the ring unmapped while it is used") func unmapped() throws {
    try driver.function.dma.unmap(
      deviceAddress: MiniDriver.base, byteCount: MiniDriver.memoryByteCount)
    driver.ring()
    #expect(driver.reasons.last == .ringUnmapped)
    try driver.function.dma.map(
      driver.memory, byteCount: MiniDriver.memoryByteCount, deviceAddress: MiniDriver.base)
    expectBroken(.ringUnmapped)
  }

  @Test("a driver gone mad, 120 seeds") func mad() throws {
    var reached: Set<Violation.Reason> = []
    for seed: UInt64 in 1...120 { try run(seed, &reached) }
    let wanted: Set<Violation.Reason> = [
      .bufferIDOutOfRange, .bufferIDInFlight, .listNotAvailable, .chainTooLong, .indirectNested,
      .indirectWithNext, .indirectLengthInvalid, .indirectUnmapped, .readableAfterWritable,
      .bufferUnmapped, .headerMissing, .statusMissing, .tableFlagsReserved,
      .eventSuppressionInvalid,
    ]
    #expect(wanted.subtracting(reached).isEmpty, "never reached: \(wanted.subtracting(reached))")
  }

  /// One life of a driver that writes what comes to its mind: the device names it and lives.
  func run(_ seed: UInt64, _ reached: inout Set<Violation.Reason>) throws {
    var random = TestRandom(seed)
    let size = 1 + random.below(9)
    let driver = try PackedRingTests.driver(size: size)
    let area = driver.allocate(1 << 16, 4096)
    for _ in 0..<120 {
      let spot = random.pick([0, 16, 32, 64, 512, 4096 * random.below(16)])
      let address = random.pick([
        driver.address(area + spot), driver.address(area + spot),
        driver.address(driver.rings[0].descriptors), UInt64(0), UInt64.max - 7, random.next(),
      ])
      let length = random.pick([0, 1, 8, 16, 16, 32, 48, 512, 513, 4096, .max] as [UInt32])
      let flags = random.pick([0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 0x7F07] as [UInt16])
      if random.below(4) == 0 {
        driver.writePacked(at: area + spot, address, length, 0, flags)
        driver.store(area + 512, UInt32(random.pick([0, 1, 4, 8, 11, 13, 99])))
      } else {
        driver.placeDescriptor(address, length, flags, id: UInt16(random.below(size + 2)))
        if random.below(3) > 0 { driver.publishPacked() }
      }
      if random.below(12) == 0 {
        driver.setDriverEvent(UInt16(random.below(4)), UInt16(truncatingIfNeeded: random.next()))
      }
      if random.below(3) == 0 { driver.ring() }
      if driver.status.contains(.needsReset) || random.below(40) == 0 {
        driver.rings = []
        driver.start(size: size)
      }
    }
    reached.formUnion(driver.reasons)
    driver.rings = []
    driver.start(size: size)
    #expect(driver.performPacked(.flush, indirect: true)?.status == 0, "seed \(seed)")
  }
}

/// The hostile switches on packed rings, as a driver sees them.
@Suite("hostility, packed") struct PackedHostilityTests {
  func read(_ hostility: Hostility, rounds: Int = 1) throws -> (MiniDriver, status: UInt64) {
    let driver = try PackedRingTests.driver(size: 8) { $0.hostility = hostility }
    var status: UInt64 = 0
    for round in 0..<rounds {
      let target = driver.address(driver.allocate(512))
      let request = driver.request(.read, 0, [.into(target, 512)])
      status = request.status
      driver.placeTable(request.pieces, id: UInt16(3 + round))
      driver.kickPacked()
    }
    return (driver, status)
  }

  @Test("rows 1, 2, 10: used ids") func ids() throws {
    #expect(try read(.usedIDOutOfRange).0.peekUsed()?.id == 11)
    #expect(try read(.usedIDNotHead).0.peekUsed()?.id == 4)
    let (driver, _) = try read(.usedIDDuplicate)
    #expect(driver.usedPacked()?.id == 3)
    driver.rings[0].packed.lists = [.init(id: 3, span: 1)]
    #expect(driver.usedPacked()?.id == 3)
    driver.rings[0].packed.lists = [.init(id: 3, span: 1)]
    #expect(driver.usedPacked() == nil)
  }

  @Test("rows 5, 6, 7, 8: lengths and statuses") func lengths() throws {
    #expect(try read(.usedLengthTooLong).0.usedPacked()?.length == .max)
    #expect(try read(.usedLengthShort).0.usedPacked()?.length == 1)
    let zero = try read(.usedLengthZero)
    #expect(zero.0.usedPacked() == .init(id: 3, length: 0, flags: 0x8080))
    #expect(zero.0.bytes(zero.status, 1) == [0xFF])
    let odd = try read(.statusOutOfRange)
    #expect(odd.0.bytes(odd.status, 1) == [0x77])
  }

  @Test("rows 3, 4: a slot left out, two slots back") func places() throws {
    var (driver, _) = try read(.usedIndexJumps, rounds: 2)
    #expect(driver.usedPacked()?.id == 3)
    #expect(driver.usedPacked() == nil)
    driver.rings[0].packed.used.advance(1, size: 8)
    #expect(driver.usedPacked()?.id == 4)
    (driver, _) = try read(.usedIndexGoesBack, rounds: 2)
    #expect(driver.usedPacked()?.id == 3)
    #expect(driver.usedPacked() == nil)
    // One back from slot 0 is the last slot, in the turn before.
    driver.rings[0].packed.used = .init(slot: 7, wrap: false)
    #expect(driver.usedPacked()?.id == 4)
  }

  @Test("row 10: flags that mean nothing, and flags that say that it is not used") func flags()
    throws
  {
    #expect(try read(.usedFlagsGarbage).0.usedPacked()?.flags == 0xFFFF)
    let (driver, _) = try read(.usedFlagsInconsistent)
    #expect(driver.usedPacked() == nil)
    #expect(driver.load(driver.rings[0].descriptors + 8, UInt64.self) == 0x0082_0003_0000_0201)
  }

  @Test("row 9: what the driver owns is overwritten, but flags") func scribbles() throws {
    let driver = try PackedRingTests.driver(size: 8) { $0.hostility = .scribblesDescriptors }
    driver.place(driver.request(.flush, 0, []).pieces, id: 3)
    driver.kickPacked()
    #expect(driver.usedPacked()?.id == 3)
    let second = driver.rings[0].descriptors + 16
    #expect(driver.load(second, UInt32.self) == 0xDEAD_BEEF)
    #expect(driver.load(second + 12, UInt32.self) == 0x0082_0003)
  }

  @Test("rows 12, 13, 14: kicks and notifications") func notifications() throws {
    #expect(try read(.suppressesKicks).0.deviceEvent().flags == 1)
    #expect(try read(.availableEventGarbage).0.deviceEvent() == (0xFFFF, 0x6D2B))
    #expect(try read(.neverNotifies).0.disk.counters(queue: 0).notifications == 0)
    #expect(try read(.notifiesTwice).0.disk.counters(queue: 0).notifications == 2)
  }

  @Test("every switch leaves the emulator itself sound, in order or not") func sound() throws {
    for hostility in Hostility.all {
      for extra: Features in [.ringPacked, [.ringPacked, .inOrder]] {
        let driver = try PackedRingTests.driver(size: 5) {
          $0.hostility = hostility
          $0.extra = extra
        }
        for id: UInt16 in 0..<12 {
          driver.placeTable(driver.request(.flush, 0, []).pieces, id: id % 5)
          driver.kickPacked()
        }
        driver.status = []
      }
    }
  }
}
