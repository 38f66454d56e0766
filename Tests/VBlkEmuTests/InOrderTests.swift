import Testing
import VBlkEmu
import Virtio

/// Row 100 of the device checklist: IN_ORDER on both ring formats, with a used element for each
/// request or one for a batch.
@Suite("in order") struct InOrderTests {
  /// A used element: its id, its length, and for how many requests it stands.
  struct Used: Equatable {
    var id: UInt16
    var length: UInt32
    var count: Int
  }

  /// A driver of IN_ORDER on either format; heads or ids in the order in which they were published.
  final class Driver {
    let mini: MiniDriver
    private var published: [UInt16] = []
    private var nextID: UInt16 = 0
    private let size: Int

    init(
      packed: Bool, size: Int = 16, _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
    ) throws {
      var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
      configuration.extra = packed ? [.ringPacked, .inOrder] : .inOrder
      change(&configuration)
      mini = try MiniDriver(configuration)
      mini.start(size: size)
      self.size = size
    }

    /// Writes a request; `publish` shows it.
    ///
    /// - Returns: Its head or id, and where its status is.
    @discardableResult
    func place(
      _ type: RequestType = .read, direct: Bool = false
    ) -> (id: UInt16, status: UInt64) {
      let data: [Piece] =
        type == .flush ? [] : [.into(mini.address(mini.allocate(512)), 512)]
      let request = mini.request(type, 0, data)
      let id: UInt16
      if mini.isPacked {
        id = nextID
        nextID = (nextID + 1) % UInt16(size)
        if direct {
          mini.place(request.pieces, id: id)
        } else {
          mini.placeTable(request.pieces, id: id)
        }
      } else {
        id = direct ? mini.chain(request.pieces) : mini.table(request.pieces)
        mini.push(id)
      }
      published.append(id)
      return (id, request.status)
    }

    func publish() {
      if mini.isPacked { mini.publishPacked() } else { mini.publish() }
    }

    func kick() {
      publish()
      mini.ring()
    }

    /// Takes the next used element with all that it stands for.
    func used() -> Used? {
      let before = published.count
      if mini.isPacked {
        guard let (used, ids) = mini.usedInOrder() else { return nil }
        published.removeFirst(ids.count)
        return Used(id: used.id, length: used.length, count: before - published.count)
      }
      guard let entry = mini.used() else { return nil }
      while !published.isEmpty, published.removeFirst() != UInt16(entry.id) {
        mini.rings[0].usedSeen &+= 1
      }
      return Used(
        id: UInt16(entry.id), length: entry.length, count: before - published.count)
    }

    func allUsed() -> [Used] {
      var all: [Used] = []
      while let one = used() { all.append(one) }
      return all
    }
  }

  @Test("a batch is one used element, with the id of its last", arguments: [false, true])
  func batch(packed: Bool) throws {
    let driver = try Driver(packed: packed)
    for round in 0..<9 {
      let ids = (0..<5).map { driver.place(direct: round % 2 == 1 && $0 % 2 == 1).id }
      let second = driver.mini.rings[0].used + 4 + 8
      driver.kick()
      #expect(driver.allUsed() == [.init(id: ids[4], length: 513, count: 5)])
      // What is skipped is not written.
      if !packed, round == 0 { #expect(driver.mini.load(second, UInt64.self) == 0) }
    }
    #expect(driver.mini.disk.counters(queue: 0).requests == 45)
    #expect(driver.mini.disk.violations.isEmpty)
  }

  @Test("a batch of the general walker is one element too", arguments: [false, true])
  func general(packed: Bool) throws {
    let driver = try Driver(packed: packed)
    let ids = (0..<4).map { driver.place($0 % 2 == 0 ? .flush : .read).id }
    driver.kick()
    #expect(driver.allUsed() == [.init(id: ids[3], length: 513, count: 4)])
  }

  @Test("what was not written in full ends its batch: the others are taken as written")
  func short() throws {
    for packed in [false, true] {
      let driver = try Driver(packed: packed)
      driver.mini.disk.setFaults([FaultRule(.status(1), skip: 1, count: 1)])
      let requests = (0..<5).map { _ in driver.place() }
      driver.kick()
      #expect(
        driver.allUsed() == [
          .init(id: requests[1].id, length: 0, count: 2),
          .init(id: requests[4].id, length: 513, count: 3),
        ])
      #expect(requests.map { driver.mini.bytes($0.status, 1)[0] } == [0, 1, 0, 0, 0])
    }
  }

  @Test("one element each, if so configured", arguments: [false, true])
  func oneEach(packed: Bool) throws {
    let driver = try Driver(packed: packed) { $0.inOrderBatches = false }
    for _ in 0..<7 {
      let ids = (0..<5).map { _ in driver.place().id }
      driver.kick()
      #expect(driver.allUsed() == ids.map { .init(id: $0, length: 513, count: 1) })
    }
  }

  @Test(
    "row 100: an order that is set means nothing, without IN_ORDER it does",
    arguments: [false, true])
  func order(packed: Bool) throws {
    for inOrder in [true, false] {
      let driver = try Driver(packed: packed) {
        $0.inOrderBatches = false
        $0.completionOrder = .reversed
        if !inOrder { $0.withheld = .inOrder }
      }
      let ids = (0..<4).map { _ in driver.place().id }
      driver.kick()
      let used = (0..<4).map { _ in
        packed ? driver.mini.usedPacked()?.id : driver.mini.used().map { UInt16($0.id) }
      }
      #expect(used == (inOrder ? ids : ids.reversed()))
    }
  }

  @Test("a request that is held holds all behind it", arguments: [false, true])
  func hold(packed: Bool) throws {
    let driver = try Driver(packed: packed) { $0.inOrderBatches = false }
    let disk = driver.mini.disk
    disk.setFaults([FaultRule(.hold, skip: 1, count: 1), FaultRule(.status(2), skip: 1, count: 1)])
    let requests = (0..<4).map { _ in driver.place() }
    driver.kick()
    #expect(driver.allUsed().map(\.id) == [requests[0].id])
    #expect(requests.map { driver.mini.bytes($0.status, 1)[0] } == [0, 0xFF, 0xFF, 0xFF])
    // The rules are gone, the order is not.
    disk.setFaults([])
    let late = driver.place()
    driver.kick()
    #expect(driver.allUsed().isEmpty)
    #expect(disk.releaseHeld(queue: 0) == 4)
    #expect(driver.allUsed().map(\.id) == (requests[1...] + [late]).map(\.id))
    #expect(requests.map { driver.mini.bytes($0.status, 1)[0] } == [0, 0, 2, 0])
    driver.place()
    driver.kick()
    #expect(driver.allUsed().count == 1)
    #expect(disk.violations.isEmpty)
  }

  @Test("a delay delays all behind it, and a lost one keeps them", arguments: [false, true])
  func delayAndDrop(packed: Bool) throws {
    let driver = try Driver(packed: packed)
    let disk = driver.mini.disk
    disk.setFaults([FaultRule(.delay(serves: 2), count: 1)])
    let ids = (0..<3).map { _ in driver.place().id }
    driver.kick()
    driver.mini.ring()
    #expect(driver.allUsed().isEmpty)
    driver.mini.ring()
    #expect(driver.allUsed() == [.init(id: ids[2], length: 513, count: 3)])
    disk.setFaults([FaultRule(.drop, skip: 1, count: 1)])
    for _ in 0..<3 { driver.place() }
    driver.kick()
    #expect(driver.allUsed().map(\.count) == [1])
    #expect(disk.releaseHeld(queue: 0) == 0)
    #expect(driver.allUsed().isEmpty)
    driver.mini.rings = []
    driver.mini.start(size: 16)
    #expect(disk.violations.isEmpty)
  }

  @Test("stepped: only the oldest can be used", arguments: [false, true])
  func stepped(packed: Bool) throws {
    let driver = try Driver(packed: packed) { $0.mode = .stepped }
    let disk = driver.mini.disk
    let ids = (0..<3).map { _ in driver.place().id }
    driver.publish()
    let handles = (0..<3).compactMap { _ in disk.fetch(queue: 0) }
    #expect(handles.count == 3)
    let error = #expect(throws: EmulatorError.self) { try disk.complete(handles[1]) }
    #expect(error?.code == .wrongState)
    for handle in handles.reversed() {
      try disk.transfer(handle)
      try disk.writeStatus(handle)
    }
    #expect(throws: EmulatorError.self) { try disk.pushUsed(handles[2]) }
    for handle in handles { try disk.pushUsed(handle, publishing: false) }
    #expect(driver.allUsed().isEmpty)
    disk.publishUsed(queue: 0)
    #expect(driver.allUsed() == [.init(id: ids[2], length: 513, count: 3)])
  }

  @Test("batches of all lengths, many turns", arguments: [false, true]) func turns(packed: Bool)
    throws
  {
    for size in packed ? [1, 2, 3, 5, 8] : [1, 2, 4, 8] {
      let driver = try Driver(packed: packed, size: size)
      var random = TestRandom(UInt64(size))
      var total = 0
      for _ in 0..<300 {
        let count = 1 + random.below(size)
        var last: UInt16 = 0
        for _ in 0..<count { last = driver.place(.flush).id }
        driver.kick()
        #expect(driver.allUsed() == [.init(id: last, length: 1, count: count)])
        total += count
      }
      #expect(driver.mini.disk.counters(queue: 0).requests == UInt64(total))
      #expect(driver.mini.disk.violations.isEmpty)
    }
  }

  @Test("a batch that passes the driver's event is one notification", arguments: [false, true])
  func events(packed: Bool) throws {
    let driver = try Driver(packed: packed, size: 8)
    // Three are used each time: 0-2, 3-5 and 6-8.
    for (event, wanted): (UInt16, UInt64) in [(1, 1), (6, 0), (7, 1)] {
      let before = driver.mini.disk.counters(queue: 0).notifications
      if packed {
        driver.mini.setDriverEvent(2, 0x8000 | event)
      } else {
        driver.mini.setUsedEvent(event)
      }
      for _ in 0..<3 { driver.place() }
      driver.kick()
      #expect(driver.allUsed().map(\.count) == [3])
      #expect(driver.mini.disk.counters(queue: 0).notifications - before == wanted)
    }
  }
}
