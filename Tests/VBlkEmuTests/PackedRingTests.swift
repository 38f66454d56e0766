import Testing
import VBlkEmu
import Virtio

/// Rows 93-99 of the device checklist, on packed rings.
@Suite("packed rings") struct PackedRingTests {
  static func configuration(
    _ contents: EmulatedDisk.Contents = .memory(byteCount: 1 << 20), size: Int = 256,
    inOrder: Bool = false
  ) -> EmulatedDisk.Configuration {
    var configuration = EmulatedDisk.Configuration(contents)
    configuration.extra = inOrder ? [.ringPacked, .inOrder] : .ringPacked
    configuration.queueSize = size
    return configuration
  }

  static func driver(
    size: Int, without: Features = [],
    _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = configuration()
    change(&configuration)
    let driver = try MiniDriver(configuration)
    driver.start(without: without, size: size)
    return driver
  }

  @Test("row 85: packed rings and IN_ORDER are offered when asked for, only") func offer() throws {
    let plain = try MiniDriver(.init(.null(byteCount: 512)))
    #expect(plain.offered.isDisjoint(with: [.ringPacked, .inOrder]))
    var configuration = EmulatedDisk.Configuration(.null(byteCount: 512))
    try configuration.offer(named: "packed")
    #expect(configuration.offered.contains(.ringPacked))
    #expect(!configuration.offered.contains(.inOrder))
    try configuration.offer(named: "in-order")
    #expect(try MiniDriver(configuration).offered.isSuperset(of: [.ringPacked, .inOrder]))
    #expect(throws: EmulatorError.self) { try configuration.offer(named: "flush") }
    try configuration.withhold(named: "ring-packed")
    #expect(!configuration.offered.contains(.ringPacked))
  }

  @Test("any size is a packed ring's, a split ring's goes down to a power of two")
  func registers() throws {
    let driver = try MiniDriver(Self.configuration(size: 300))
    #expect(driver.read(CommonConfig.queueSize, 2) == 300)
    driver.negotiate(without: .ringPacked)
    #expect(driver.read(CommonConfig.queueSize, 2) == 256)
    driver.write(CommonConfig.queueSize, 2, 100)
    #expect(driver.reasons == [.queueSizeInvalid])
    driver.negotiate()
    #expect(driver.read(CommonConfig.queueSize, 2) == 300)
    for (size, taken): (UInt32, UInt32) in [
      (1, 1), (299, 299), (0, 299), (301, 299), (65_535, 299),
    ] {
      driver.write(CommonConfig.queueSize, 2, size)
      #expect(driver.read(CommonConfig.queueSize, 2) == taken)
    }
    #expect(driver.reasons.count == 4)
    #expect(throws: EmulatorError.self) {
      var configuration = EmulatedDisk.Configuration(.null(byteCount: 512))
      configuration.queueSize = 300
      _ = try EmulatedDisk(configuration)
    }
  }

  @Test("a write is read back, direct and indirect", arguments: [false, true])
  func roundTrip(indirect: Bool) throws {
    let driver = try Self.driver(size: 16)
    let bytes = RequestTests.pattern(4096)
    let source = driver.address(driver.allocate(4096, 512))
    let target = driver.address(driver.allocate(4096, 512))
    driver.fill(source, bytes)
    let written = driver.performPacked(.write, 3, [.out(source, 4096)], indirect: indirect, id: 7)
    #expect(written?.status == 0)
    #expect(written?.used == .init(id: 7, length: 1, flags: 0x8082))
    let read = driver.performPacked(.read, 3, [.into(target, 4096)], indirect: indirect, id: 15)
    #expect(read?.status == 0)
    #expect(read?.used == .init(id: 15, length: 4097, flags: 0x8082))
    #expect(driver.bytes(target, 4096) == bytes)
    #expect(driver.disk.violations.isEmpty)
    #expect(driver.disk.counters(queue: 0).bytes == 8192)
  }

  @Test("row 93: framing means nothing", arguments: [false, true]) func framing(indirect: Bool)
    throws
  {
    let driver = try Self.driver(size: 64)
    let bytes = RequestTests.pattern(1024)
    let source = driver.address(driver.allocate(1024 + 16, 512))
    let target = driver.address(driver.allocate(1024 + 4, 512))
    let header = driver.parts(RequestType.write.rawValue, 2)
    driver.fill(source, driver.bytes(header.header, 16) + bytes)
    let reading = driver.parts(RequestType.read.rawValue, 2)
    // Header and data in one; header in three, an empty one between; data and status in one.
    let lists: [[Piece]] = [
      [.out(source, 1040), .into(header.status, 1)],
      [
        .out(reading.header, 5), .out(reading.header, 0), .out(reading.header + 5, 11),
        .into(target, 100), .into(target + 100, 1024 + 4 - 100),
      ],
    ]
    for (id, list) in lists.enumerated() {
      if indirect {
        driver.placeTable(list, id: UInt16(id))
      } else {
        driver.place(list, id: UInt16(id))
      }
      driver.kickPacked()
      #expect(driver.usedPacked()?.id == UInt16(id))
    }
    // 1,027 bytes are no whole sectors: the read fails, its status is the last byte.
    #expect(driver.bytes(header.status, 1) == [0])
    #expect(driver.bytes(target + 1027, 1) == [1])
    let status = driver.address(driver.allocate(4))
    driver.place(
      [
        .out(reading.header, 16), .into(target, 1), .into(target + 1, 1022),
        .into(target + 1023, 1),
        .into(status, 1),
      ], id: 9)
    driver.kickPacked()
    #expect(driver.usedPacked()?.length == 1025)
    #expect(driver.bytes(target, 1024) == bytes)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 95: WRITE on a table's owner means nothing") func writeOnTable() throws {
    let driver = try Self.driver(size: 4)
    let request = driver.request(.flush, 0, [])
    driver.placeTable(request.pieces, id: 2, flags: 2)
    driver.kickPacked()
    #expect(driver.usedPacked()?.id == 2)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("any size works, over three turns and more", arguments: [1, 2, 3, 5, 8, 256, 32_768])
  func sizes(size: Int) throws {
    let driver = try MiniDriver(Self.configuration(.null(byteCount: 1 << 20), size: 32_768))
    driver.start(size: size)
    let target = driver.address(driver.allocate(512))
    let request = driver.request(.read, 3, [.into(target, 512)])
    let direct = [1, 3, 2].filter { size >= 3 || $0 < 3 }
    var served = 0
    var slots = 0
    while slots < min(7 * size, 2000) + 5 {
      let id = UInt16(served % size)
      let shape = direct[served % direct.count]
      switch shape {
      case 1: driver.placeTable(request.pieces, id: id)
      case 2 where size == 1: driver.placeTable(request.pieces, id: id)
      case 2:
        driver.place([request.pieces[0], .into(request.pieces[1].address, 513)], id: id)
      default: driver.place(request.pieces, id: id)
      }
      slots += driver.rings[0].packed.lists[0].span
      driver.kickPacked()
      #expect(driver.usedPacked().map { [$0.id, UInt16($0.length)] } == [id, 513])
      served += 1
    }
    #expect(driver.disk.violations.isEmpty)
    #expect(driver.disk.counters(queue: 0).failedRequests == 0)
    #expect(driver.disk.counters(queue: 0).requests == UInt64(served))
  }

  @Test("a list goes on at slot 0, whatever lies behind the ring", arguments: [3, 5, 7])
  func end(size: Int) throws {
    let driver = try MiniDriver(Self.configuration(.null(byteCount: 1 << 20)))
    driver.negotiate()
    driver.setUp(0, size: size, slack: 2)
    driver.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    let decoy = driver.request(.read, 0, [.into(driver.address(driver.allocate(512)), 512)])
    for round in 0..<(4 * size) {
      let start = driver.rings[0].packed.next
      for index in 0..<2 {
        driver.writePacked(
          at: driver.rings[0].descriptors + 16 * (size + index), decoy.pieces[1 + index].address,
          decoy.pieces[1 + index].length, 1, start.availableFlags | (index == 0 ? 3 : 2))
      }
      let target = driver.address(driver.allocate(512))
      #expect(driver.performPacked(.read, 0, [.into(target, 512)], id: 0)?.used.length == 513)
      #expect(driver.bytes(decoy.status, 1) == [0xFF], "round \(round)")
      // On by one slot more than the list's three, so that it starts at each slot.
      #expect(driver.performPacked(.flush, indirect: true)?.status == 0)
    }
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("one that is held keeps its slots; the others are used before it, in their own order")
  func held() throws {
    let driver = try Self.driver(size: 9)
    driver.disk.setFaults([FaultRule(.hold, count: 1)])
    var statuses: [UInt64] = []
    for id: UInt16 in 0..<3 {
      let request = driver.request(.read, 0, [.into(driver.address(driver.allocate(512)), 512)])
      driver.place(request.pieces, id: id)
      statuses.append(request.status)
      driver.kickPacked()
      driver.disk.setFaults([])
    }
    #expect((0..<3).map { _ in driver.usedPacked()?.id } == [1, 2, nil])
    #expect(driver.bytes(statuses[0], 1) == [0xFF])
    #expect(driver.disk.releaseHeld(queue: 0) == 1)
    #expect(driver.usedPacked()?.id == 0)
    #expect(driver.performPacked(.flush, indirect: true)?.status == 0)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("a full ring is served whole, again and again", arguments: [1, 2, 3, 5, 8, 64])
  func full(size: Int) throws {
    let driver = try Self.driver(size: size)
    let requests = (0..<size).map { _ in driver.request(.flush, 0, []) }
    for _ in 0..<7 {
      for (id, request) in requests.enumerated() {
        driver.placeTable(request.pieces, id: UInt16(size - 1 - id))
      }
      #expect(driver.disk.available(queue: 0) == 0)
      driver.publishPacked()
      #expect(driver.disk.available(queue: 0) == size)
      driver.ring()
      #expect(
        (0..<size).map { _ in driver.usedPacked()?.id } == (0..<size).map { UInt16(size - 1 - $0) })
      #expect(driver.usedPacked() == nil)
    }
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 99: AVAIL and USED decide, whatever else the descriptor says") func inconsistent()
    throws
  {
    let driver = try Self.driver(size: 4)
    let request = driver.request(.flush, 0, [])
    let table = driver.allocate(48)
    for (index, piece) in request.pieces.enumerated() {
      driver.writePacked(
        at: table + 16 * index, piece.address, piece.length, 0, piece.writable ? 2 : 0)
    }
    let offset = driver.rings[0].descriptors
    let length = UInt32(16 * request.pieces.count)
    // Used ones, and available ones of the other turn, with all kinds of garbage.
    for flags: UInt16 in [4, 0x8084, 0x8004, 0x7F7F, 0xFFFF, 0xFF7F, 0x8000] {
      driver.writePacked(at: offset, driver.address(table), length, 1, flags)
      driver.ring()
      #expect(driver.disk.counters(queue: 0).requests == 0)
      #expect(driver.load(offset + 14, UInt16.self) == flags)
    }
    driver.writePacked(at: offset, driver.address(table), length, 1, 0x0084)
    driver.rings[0].packed.lists = [.init(id: 1, span: 1)]
    driver.ring()
    #expect(driver.usedPacked()?.id == 1)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 99: a used descriptor is not touched again, and none but the first of a list is")
  func untouched() throws {
    let driver = try Self.driver(size: 8)
    driver.place(driver.request(.flush, 0, []).pieces, id: 3)
    let second = driver.rings[0].descriptors + 16
    let before = (driver.load(second, UInt64.self), driver.load(second + 8, UInt64.self))
    driver.kickPacked()
    #expect((driver.load(second, UInt64.self), driver.load(second + 8, UInt64.self)) == before)
    let first = driver.rings[0].descriptors + 8
    #expect(driver.load(first, UInt64.self) == 0x8082_0003_0000_0001)
    driver.store(first, UInt64(0x8080_1234_5678_9ABC))
    for _ in 0..<3 { driver.ring() }
    #expect(driver.load(first, UInt64.self) == 0x8080_1234_5678_9ABC)
  }

  @Test("row 96: a list without a status is used with length 0, and says that nothing was written")
  func unanswerable() throws {
    let driver = try Self.driver(size: 8)
    driver.place([.out(driver.parts(4, 0).header, 16)], id: 5)
    driver.kickPacked()
    #expect(driver.usedPacked() == .init(id: 5, length: 0, flags: 0x8080))
    #expect(driver.disk.violations.map(\.reason) == [.statusMissing])
  }

  @Test("row 98: spurious kicks, and lists published without a kick are taken with the next one")
  func kicks() throws {
    let driver = try Self.driver(size: 3)
    for round in 0..<10 {
      driver.placeTable(driver.request(.flush, 0, []).pieces, id: 0)
      driver.publishPacked()
      #expect(driver.usedPacked() == nil)
      driver.placeTable(driver.request(.flush, 0, []).pieces, id: 1)
      driver.kickPacked()
      driver.ring()
      #expect(driver.usedPacked()?.id == 0)
      #expect(driver.usedPacked()?.id == 1)
      #expect(driver.disk.counters(queue: 0).requests == UInt64(2 * round + 2))
    }
  }

  @Test("a reset starts at slot 0 with wrap counters of 1") func reset() throws {
    let driver = try Self.driver(size: 3)
    for _ in 0..<4 { #expect(driver.performPacked(.flush, indirect: true)?.status == 0) }
    driver.rings = []
    driver.start(size: 5)
    #expect(driver.performPacked(.flush, indirect: true)?.used.flags == 0x8082)
    driver.rings = []
    driver.start(without: .ringPacked, size: 4)
    #expect(driver.perform(.flush)?.status == 0)
    #expect(driver.disk.violations.isEmpty)
  }
}

/// Packed rings, step by step.
@Suite("packed rings, stepped") struct PackedSteppingTests {
  func driver(size: Int) throws -> MiniDriver {
    try PackedRingTests.driver(size: size) { $0.mode = .stepped }
  }

  @Test("row 99: any order of completion, over many turns", arguments: [1, 2, 3, 5, 8])
  func outOfOrder(size: Int) throws {
    let driver = try driver(size: size)
    let disk = driver.disk
    var random = TestRandom(UInt64(size))
    var flying: [(handle: RequestHandle, id: UInt16, status: UInt64)] = []
    var free = (0..<size).map { UInt16($0) }
    var slots = size
    for _ in 0..<600 {
      let request = driver.request(.flush, 0, [])
      let direct = slots >= 2 && random.below(2) == 0
      if slots >= 1, random.below(2) == 0 {
        let id = free.remove(at: random.below(free.count))
        if direct {
          driver.place(request.pieces, id: id)
        } else {
          driver.placeTable(request.pieces, id: id)
        }
        slots -= driver.rings[0].packed.lists.last?.span ?? 0
        driver.publishPacked()
        #expect(disk.available(queue: 0) == 1)
        let handle = try #require(disk.fetch(queue: 0))
        #expect(try disk.describe(handle).head == id)
        #expect(disk.available(queue: 0) == 0)
        flying.append((handle, id, request.status))
      } else if !flying.isEmpty {
        let one = flying.remove(at: random.below(flying.count))
        #expect(driver.usedPacked() == nil)
        #expect(driver.bytes(one.status, 1) == [0xFF])
        try disk.complete(one.handle)
        let span = driver.rings[0].packed.lists.first { $0.id == one.id }?.span ?? 0
        #expect(driver.usedPacked()?.id == one.id)
        #expect(driver.bytes(one.status, 1) == [0])
        slots += span
        free.append(one.id)
      }
    }
    #expect(disk.violations.isEmpty)
  }

  @Test("nothing is seen before it is published, then all in order") func publication() throws {
    let driver = try driver(size: 5)
    let disk = driver.disk
    for _ in 0..<7 {
      for id in 0..<4 { driver.placeTable(driver.request(.flush, 0, []).pieces, id: UInt16(id)) }
      driver.publishPacked()
      let handles = (0..<4).compactMap { _ in disk.fetch(queue: 0) }
      for index in [2, 0, 3, 1] {
        try disk.transfer(handles[index])
        try disk.writeStatus(handles[index])
        try disk.pushUsed(handles[index], publishing: false)
        #expect(driver.usedPacked() == nil)
      }
      let notifications = disk.counters(queue: 0).notifications
      disk.publishUsed(queue: 0)
      #expect((0..<4).map { _ in driver.usedPacked()?.id } == [2, 0, 3, 1])
      #expect(disk.counters(queue: 0).notifications == notifications)
      disk.notifyDriver(queue: 0)
      #expect(disk.counters(queue: 0).notifications == notifications + 1)
    }
  }

  @Test("an id is free when it was published, not before") func freeAgain() throws {
    let driver = try driver(size: 2)
    driver.placeTable(driver.request(.flush, 0, []).pieces, id: 1)
    driver.publishPacked()
    let first = try #require(driver.disk.fetch(queue: 0))
    try driver.disk.transfer(first)
    try driver.disk.writeStatus(first)
    try driver.disk.pushUsed(first, publishing: false)
    driver.placeTable(driver.request(.flush, 0, []).pieces, id: 1)
    driver.publishPacked()
    #expect(driver.disk.fetch(queue: 0) == nil)
    #expect(driver.disk.violations.map(\.reason) == [.bufferIDInFlight])
  }

  @Test("serve takes as many lists as it is told, of any length") func serve() throws {
    let driver = try driver(size: 12)
    for id in 0..<4 { driver.place(driver.request(.flush, 0, []).pieces, id: UInt16(id)) }
    driver.publishPacked()
    #expect(driver.disk.available(queue: 0) == 4)
    #expect(driver.disk.serve(queue: 0, max: 3) == 3)
    #expect((0..<4).map { _ in driver.usedPacked()?.id } == [0, 1, 2, nil])
    #expect(driver.disk.serve(queue: 0) == 1)
    #expect(driver.disk.serve(queue: 0) == 0)
    #expect(driver.usedPacked()?.id == 3)
  }
}
