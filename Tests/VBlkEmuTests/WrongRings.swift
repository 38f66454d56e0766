import CHostIO
import VBlkEmu
import Virtio

// Rings and requests of the wrong mini-driver.
extension WrongDriver {
  static let splitRings: [WrongDriver] = [
    WrongDriver(43, "avail.idx goes back") {
      $0.start(size: 16)
      $0.show($0.readPieces())
      $0.rings[0].availableIndex &-= 1
      $0.publish()
      $0.ring()
    },
    WrongDriver(43, "makes a head available that is in flight") {
      $0.start(size: 16)
      let head = $0.chain($0.readPieces())
      $0.push(head)
      $0.push(head)
      $0.publish()
      _ = $0.disk.fetch(queue: 0)
      _ = $0.disk.fetch(queue: 0)
    }.on { $0.mode = .stepped },
    WrongDriver(43, "changes a descriptor that is in flight") {
      $0.start(size: 16)
      $0.show($0.readPieces())
      guard let handle = $0.disk.fetch(queue: 0) else { return }
      $0.store($0.rings[0].descriptors + 16 + 8, UInt32(1024))
      try $0.disk.complete(handle)
    }.on { $0.mode = .stepped },
    WrongDriver(43, "changes a table that is in flight") {
      $0.start(size: 16)
      $0.show($0.readPieces(), indirect: true)
      guard let handle = $0.disk.fetch(queue: 0) else { return }
      let table = $0.offset($0.load($0.rings[0].descriptors, UInt64.self))
      $0.store(table + 16 + 8, UInt32(1024))
      try $0.disk.complete(handle)
    }.on { $0.mode = .stepped },
    WrongDriver(44, "a chain that runs in a circle") {
      $0.start(size: 16)
      let head = $0.chain($0.readPieces())
      $0.damage(2, flags: 3, next: 2)
      $0.submit(head)
    },
    WrongDriver(45, "a header behind the data") {
      $0.start(size: 16)
      let pieces = $0.readPieces()
      $0.show([pieces[1], pieces[0], pieces[2]])
    },
    WrongDriver(46, "INDIRECT without the feature") {
      $0.start(size: 16)
      $0.show($0.readPieces(), indirect: true)
    }.on { $0.withheld = .indirectDescriptors },
    WrongDriver(46, "a table in a table") {
      $0.start(size: 16)
      let pieces = $0.readPieces()
      let inner = $0.allocate(16)
      let outer = $0.allocate(16)
      $0.writeDescriptor(at: inner, pieces[0].address, 16, 0, 0)
      $0.writeDescriptor(at: outer, $0.address(inner), 16, 4, 0)
      $0.writeDescriptor(at: $0.rings[0].descriptors, $0.address(outer), 16, 4, 0)
      $0.submit(0)
    },
    WrongDriver(46, "INDIRECT with NEXT") {
      $0.start(size: 16)
      let head = $0.table($0.readPieces())
      $0.damage(0, flags: 5, next: 1)
      $0.submit(head)
    },
    WrongDriver(46, "a table of 40 bytes") {
      $0.start(size: 16)
      let head = $0.table($0.readPieces())
      $0.store($0.rings[0].descriptors + 8, UInt32(40))
      $0.submit(head)
    },
    WrongDriver(47, "shows an entry that holds no head") {
      $0.start(size: 16)
      $0.submit(200)
    },
    WrongDriver(47, "shows a chain that leads out of the ring") {
      $0.start(size: 16)
      let head = $0.chain($0.readPieces())
      $0.damage(0, flags: 1, next: 99)
      $0.submit(head)
    },
    WrongDriver(49, "avail.flags 1 with EVENT_IDX") {
      $0.start(size: 16)
      $0.store($0.rings[0].available, UInt16(1))
      $0.show($0.readPieces())
    },
    WrongDriver(49, "avail.flags 2 without EVENT_IDX") {
      $0.start(size: 16)
      $0.store($0.rings[0].available, UInt16(2))
      $0.show($0.readPieces())
    }.on { $0.withheld = .eventIndex },
    WrongDriver(52, "leaves a descriptor out with IN_ORDER") {
      $0.start(size: 16)
      $0.rings[0].freeDescriptor = 1
      $0.show($0.readPieces())
    }.on { $0.extra = .inOrder },
    WrongDriver(52, "chains backwards with IN_ORDER") {
      $0.start(size: 16)
      let pieces = $0.readPieces()
      let ring = $0.rings[0].descriptors
      $0.writeDescriptor(at: ring, pieces[0].address, 16, 1, 2)
      $0.writeDescriptor(at: ring + 32, pieces[1].address, 512, 3, 1)
      $0.writeDescriptor(at: ring + 16, pieces[2].address, 1, 2, 0)
      $0.submit(0)
    }.on { $0.extra = .inOrder },
  ]

  static let packedRings: [WrongDriver] = [
    WrongDriver(53, "a list whose end isn't available", packed: true) {
      $0.start(size: 16)
      $0.place($0.readPieces(), id: 0)
      $0.damage(2, flags: 2)
      $0.kickPacked()
    },
    WrongDriver(53, "an id that no ring of this size has", packed: true) {
      $0.start(size: 16)
      $0.place($0.readPieces(), id: 16)
      $0.kickPacked()
    },
    WrongDriver(53, "an id that is in flight", packed: true) {
      $0.start(size: 16)
      $0.place($0.readPieces(), id: 3)
      $0.place($0.readPieces(), id: 3)
      $0.publishPacked()
      _ = $0.disk.fetch(queue: 0)
      _ = $0.disk.fetch(queue: 0)
    }.on { $0.mode = .stepped },
    WrongDriver(54, "a list longer than the ring", packed: true) {
      $0.start(size: 4)
      $0.place($0.request(.read, 0, $0.blocks(3)).pieces, id: 0)
      $0.kickPacked()
    },
    WrongDriver(55, "changes a table in flight", packed: true) {
      $0.start(size: 16)
      $0.show($0.readPieces(), indirect: true)
      guard let handle = $0.disk.fetch(queue: 0) else { return }
      let table = $0.offset($0.load($0.rings[0].descriptors, UInt64.self))
      $0.store(table + 16 + 8, UInt32(1024))
      try $0.disk.complete(handle)
    }.on { $0.mode = .stepped },
    WrongDriver(55, "INDIRECT behind another descriptor", packed: true) {
      $0.start(size: 16)
      let pieces = $0.readPieces()
      $0.placeDescriptor(pieces[0].address, 16, 1, id: 0)
      $0.placeDescriptor($0.address($0.allocate(32)), 32, 4, id: 0)
      $0.kickPacked()
    },
    WrongDriver(55, "NEXT in a table", packed: true) {
      $0.start(size: 16)
      let pieces = $0.readPieces()
      $0.placeTable(pieces, id: 0)
      let table = $0.offset($0.load($0.rings[0].descriptors, UInt64.self))
      $0.store(table + 14, UInt16(1))
      $0.kickPacked()
    },
    WrongDriver(56, "event flags 3", packed: true) {
      $0.start(size: 16)
      $0.setDriverEvent(3)
      $0.show($0.readPieces())
    },
  ]

  static let requests: [WrongDriver] = [false, true].flatMap { (packed: Bool) -> [WrongDriver] in
    [
      WrongDriver(23, "data outside the mapped memory", packed: packed) {
        $0.start(size: 16)
        $0.show($0.request(.read, 0, [.into(MiniDriver.base + 1 << 32, 512)]).pieces)
      },
      WrongDriver(58, "reads beyond the end", packed: packed) {
        $0.start(size: 16)
        $0.show($0.readPieces(2047, 1024))
      },
      WrongDriver(58, "discards beyond the end", packed: packed) {
        $0.start(size: 16)
        $0.show($0.rangePieces(.discard, [(2040, 16, 0)]))
      },
      WrongDriver(59, "reads 513 bytes", packed: packed) {
        $0.start(size: 16)
        $0.show($0.readPieces(0, 513))
      },
      WrongDriver(59, "asks for an id of 10 bytes", packed: packed) {
        $0.start(size: 16)
        $0.show($0.request(.getID, 0, [.into($0.address($0.allocate(16)), 10)]).pieces)
      },
      WrongDriver(59, "sends a header of 8 bytes", packed: packed) {
        $0.start(size: 16)
        var pieces = $0.readPieces()
        pieces[0].length = 8
        $0.show(pieces)
      },
      WrongDriver(60, "unmaps with a discard", packed: packed) {
        $0.start(size: 16)
        $0.show($0.rangePieces(.discard, [(0, 8, 1)]))
      },
      WrongDriver(
        60, "more ranges than allowed", packed: packed
      ) {
        $0.start(size: 16)
        $0.show($0.rangePieces(.writeZeroes, [(0, 8, 0), (8, 8, 0)]))
      }.on { $0.maxWriteZeroesSegments = 1 },
      WrongDriver(
        60, "a range longer than allowed", packed: packed
      ) {
        $0.start(size: 16)
        $0.show($0.rangePieces(.discard, [(0, 16, 0)]))
      }.on { $0.maxDiscardSectors = 8 },
      WrongDriver(64, "a segment longer than size_max", packed: packed) {
        $0.start(size: 16)
        $0.show($0.readPieces(0, 8192))
      }.on { $0.sizeMax = 4096 },
      WrongDriver(64, "more segments than seg_max", packed: packed) {
        $0.start(size: 16)
        $0.show($0.request(.read, 0, $0.blocks(2)).pieces)
      }.on { $0.segMax = 1 },
    ] + zoned(packed)
  }
}

extension WrongDriver {
  /// Wrong requests of zones.
  private static func zoned(_ packed: Bool) -> [WrongDriver] {
    func wrong(_ how: String, _ run: @escaping @Sendable (MiniDriver) -> [Piece]) -> WrongDriver {
      WrongDriver(65, how, packed: packed) {
        $0.start(size: 16)
        $0.show(run($0))
      }.on {
        $0.zones = ZoneRequestTests.layout
        $0.zones?.writeGranularity = 4096
      }
    }
    @Sendable func data(_ driver: MiniDriver, _ count: Int) -> Piece {
      .out(driver.address(driver.allocate(count, 512)), count)
    }
    @Sendable func append(_ driver: MiniDriver, _ sector: UInt64, _ count: Int) -> [Piece] {
      let answer = driver.address(driver.allocate(8))
      return driver.request(.zoneAppend, sector, [data(driver, count), .into(answer, 8)]).pieces
    }
    return [
      wrong("opens a zone by a sector inside of it") { $0.request(.zoneOpen, 129, []).pieces },
      wrong("resets a zone beyond the last") { $0.request(.zoneReset, 2048, []).pieces },
      wrong("resets all zones from a sector on") { $0.request(.zoneResetAll, 64, []).pieces },
      wrong("reports from beyond the end") {
        let area = $0.address($0.allocate(128, 64))
        return $0.request(.zoneReport, 2048, [.into(area, 128)]).pieces
      },
      wrong("appends to a sector inside a zone") { append($0, 136, 4096) },
      wrong("appends part of a granule") { append($0, 128, 512) },
      wrong("appends more than max_append_sectors") { append($0, 128, 12288) },
      wrong("writes part of a granule") { $0.request(.write, 128, [data($0, 512)]).pieces },
      wrong("writes beyond a zone's capacity") {
        $0.request(.write, 168, [data($0, 8192)]).pieces
      },
    ]
  }
}

extension MiniDriver {
  /// Memory for the data of a read, a block a piece.
  func blocks(_ count: Int) -> [Piece] {
    (0..<count).map { _ in Piece.into(address(allocate(512, 512)), 512) }
  }

  /// A request of ranges: sector, sectors, flags.
  func rangePieces(_ type: RequestType, _ ranges: [(UInt64, UInt32, UInt32)]) -> [Piece] {
    let payload = allocate(16 * ranges.count)
    for (index, range) in ranges.enumerated() {
      store(payload + 16 * index, range.0)
      store(payload + 16 * index + 8, range.1)
      store(payload + 16 * index + 12, range.2)
    }
    return request(type, 0, [.out(address(payload), 16 * ranges.count)]).pieces
  }
}
