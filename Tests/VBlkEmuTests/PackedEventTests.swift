import Testing
import VBlkEmu
import Virtio

/// Row 97 of the device checklist, on packed rings: event suppression, both ways.
@Suite("packed rings, events") struct PackedEventTests {
  func notifications(_ driver: MiniDriver) -> UInt64 {
    driver.disk.counters(queue: 0).notifications
  }

  /// Makes lists of those lengths available and kicks once.
  func serve(_ driver: MiniDriver, _ spans: [Int], _ request: [Piece]) {
    for (id, span) in spans.enumerated() {
      if span == 1 {
        driver.placeTable(request, id: UInt16(id))
      } else {
        driver.place(request, id: UInt16(id))
      }
    }
    driver.kickPacked()
    for _ in spans { #expect(driver.usedPacked() != nil) }
  }

  /// One flush in a table, made available again and again with other ids.
  struct Table {
    let address: UInt64

    init(_ driver: MiniDriver) {
      let table = driver.allocate(32)
      for (index, piece) in driver.request(.flush, 0, []).pieces.enumerated() {
        driver.writePacked(
          at: table + 16 * index, piece.address, piece.length, 0, piece.writable ? 2 : 0)
      }
      address = driver.address(table)
    }

    /// Makes `count` lists of one descriptor available, kicks once, and takes them back.
    func serve(_ driver: MiniDriver, _ count: Int) {
      for id in 0..<UInt16(count) {
        driver.placeDescriptor(address, 32, 4, id: id)
        driver.rings[0].packed.lists.append(.init(id: id, span: 1))
      }
      driver.kickPacked()
      for _ in 0..<count where driver.usedPacked() == nil { Issue.record("not used") }
    }
  }

  /// Whether `event` is among the `count` positions from `start` on: one after the other.
  func passes(
    _ start: PackedPlace.Position, _ count: Int, _ event: PackedPlace.Position, size: Int
  ) -> Bool {
    (0..<count).contains { start.advanced($0, size: size) == event }
  }

  @Test("a position is notified exactly when it is used: every position, start and batch")
  func exhaustive() throws {
    var starts: [Int: Set<PackedPlace.Position>] = [:]
    for size in 1...6 {
      let driver = try PackedRingTests.driver(size: size)
      let table = Table(driver)
      for turn in 0..<(2 * size) {
        let event = PackedPlace.Position().advanced(turn, size: size)
        driver.setDriverEvent(2, event.word)
        for batch in 1...size {
          for _ in 0..<(2 * size) {
            let start = driver.rings[0].packed.used
            starts[size, default: []].insert(start)
            let before = notifications(driver)
            table.serve(driver, batch)
            #expect(
              notifications(driver) - before
                == (passes(start, batch, event, size: size) ? 1 : 0),
              "size \(size), event \(event), start \(start), batch \(batch)")
            // On to the start behind this one, a whole double turn later.
            for _ in 0..<(2 * size + 1 - batch) { table.serve(driver, 1) }
          }
        }
      }
      #expect(driver.disk.violations.isEmpty)
      #expect(starts[size]?.count == 2 * size)
    }
  }

  @Test("a list's slots are passed all, also across the end of the ring", arguments: [2, 3, 5])
  func lists(size: Int) throws {
    let driver = try PackedRingTests.driver(size: size)
    let request = driver.request(.flush, 0, []).pieces
    for round in 0..<(12 * size) {
      let start = driver.rings[0].packed.used
      let event = start.advanced(round % 4, size: size)
      driver.setDriverEvent(2, event.word)
      let before = notifications(driver)
      serve(driver, [2], request)
      // What lies two slots on is the next one's, and on a ring of 2 three are the first again.
      #expect(notifications(driver) - before == (round % 4 < 2 ? 1 : 0), "round \(round)")
    }
  }

  @Test("enable, disable, with EVENT_IDX and without", arguments: [Features(), .eventIndex])
  func flags(without: Features) throws {
    let driver = try PackedRingTests.driver(size: 3, without: without)
    let request = driver.request(.flush, 0, []).pieces
    serve(driver, [1, 1], request)
    #expect(notifications(driver) == 1)
    driver.setDriverEvent(1, 0x8000)
    serve(driver, [1, 1], request)
    #expect(notifications(driver) == 1)
    #expect(driver.disk.counters(queue: 0).suppressedNotifications == 1)
    driver.setDriverEvent(0, 0x8000)
    serve(driver, [1], request)
    #expect(notifications(driver) == 2)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("flags 3, an event without EVENT_IDX or outside the ring: named, and notified")
  func invalid() throws {
    for (without, flags, position): (Features, UInt16, UInt16) in [
      ([], 3, 0), (.eventIndex, 2, 0), (.eventIndex, 3, 0), ([], 2, 3), ([], 2, 0xFFFF),
    ] {
      let driver = try PackedRingTests.driver(size: 3, without: without)
      driver.setDriverEvent(flags, position)
      serve(driver, [1], driver.request(.flush, 0, []).pieces)
      #expect(notifications(driver) == 1)
      #expect(driver.reasons == [.eventSuppressionInvalid])
      #expect(driver.disk.violations.first?.consequence == .ignored)
      driver.setDriverEvent(1)
      serve(driver, [1], driver.request(.flush, 0, []).pieces)
      #expect(notifications(driver) == 1)
    }
  }

  @Test("the device asks for a kick at the next position, turn by turn", arguments: [1, 2, 3, 5])
  func deviceEvents(size: Int) throws {
    for without: Features in [[], .eventIndex] {
      let driver = try PackedRingTests.driver(size: size, without: without)
      let request = driver.request(.flush, 0, []).pieces
      for round in 0..<(7 * size) {
        serve(driver, [size > 1 && round % 2 == 0 ? 2 : 1], request)
        let event = driver.deviceEvent()
        #expect(event.flags == (without.isEmpty ? 2 : 0))
        #expect(event.position == driver.rings[0].packed.next.word)
      }
    }
  }

  /// A stepped driver, and a way to use one flush of it, published or not.
  func stepped(size: Int) throws -> (MiniDriver, (UInt16, Bool) throws -> Void) {
    let driver = try PackedRingTests.driver(size: size) { $0.mode = .stepped }
    _ = driver.disk.serve(queue: 0)
    let request = driver.request(.flush, 0, []).pieces
    return (
      driver,
      { id, publishing in
        driver.placeTable(request, id: id)
        driver.publishPacked()
        let handle = try #require(driver.disk.fetch(queue: 0))
        try driver.disk.transfer(handle)
        try driver.disk.writeStatus(handle)
        try driver.disk.pushUsed(handle, publishing: publishing)
        #expect((driver.usedPacked() != nil) == publishing)
      }
    )
  }

  @Test("a decision counts all since the last one, over more than two turns too", arguments: 0..<4)
  func late(event: Int) throws {
    // Six slots of a ring of 2: every position is passed, the next one a turn ago.
    for (rounds, passed) in [(6, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (3, [0, 1, 2]), (2, [0, 1])] {
      let (driver, use) = try stepped(size: 2)
      driver.setDriverEvent(2, PackedPlace.Position().advanced(event, size: 2).word)
      for _ in 0..<rounds { try use(0, true) }
      #expect(notifications(driver) == 0)
      driver.disk.notifyDriver(queue: 0)
      #expect(notifications(driver) == (passed.contains(event) ? 1 : 0))
    }
  }

  @Test("what is pushed and not yet published is not counted") func unpublished() throws {
    for (event, expected): (UInt16, UInt64) in [(0, 1), (1, 0)] {
      let (driver, use) = try stepped(size: 4)
      driver.setDriverEvent(2, 0x8000 | event)
      try use(0, true)
      try use(1, false)
      driver.disk.notifyDriver(queue: 0)
      #expect(notifications(driver) == expected)
    }
  }

  @Test("a fetch asks for kicks only if told so") func wantKicks() throws {
    let driver = try PackedRingTests.driver(size: 4) { $0.mode = .stepped }
    let request = driver.request(.flush, 0, []).pieces
    for id: UInt16 in 0..<2 { driver.placeTable(request, id: id) }
    driver.publishPacked()
    _ = driver.disk.fetch(queue: 0, wantKicks: false)
    #expect(driver.deviceEvent().flags == 1)
    _ = driver.disk.fetch(queue: 0)
    #expect(driver.deviceEvent() == (2, 0x8002))
  }
}
