import CHostIO
import Glibc
import Testing
import VBlkEmu
import Virtio

/// Threaded mode: the same requests, served by the disk's own thread.
@Suite("threaded", .serialized) struct ThreadTests {
  /// Waits until `done`, 5 s at most.
  static func wait(_ done: () -> Bool) -> Bool {
    let deadline = chio_now_ns() + 5_000_000_000
    while !done() {
      if chio_now_ns() > deadline { return false }
      sched_yield()
    }
    return true
  }

  func driver(without: Features = []) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.mode = .threaded
    configuration.queues = 2
    let driver = try MiniDriver(configuration)
    driver.start(without: without, queues: 2, size: 32)
    return driver
  }

  /// Whether the driver's side of suppression says to kick.
  func wantsKick(_ driver: MiniDriver, _ old: UInt16, queue: Int) -> Bool {
    chio_fence_full()
    if driver.features.contains(.eventIndex) {
      return RingIndex.crosses(
        event: RingIndex(driver.availableEvent(queue: queue)), from: RingIndex(old),
        to: RingIndex(driver.rings[queue].availableIndex))
    }
    return driver.load16(driver.rings[queue].used) & 1 == 0
  }

  /// Whether the device wants a kick for the next entry.
  func asksForKicks(_ driver: MiniDriver, queue: Int) -> Bool {
    if driver.features.contains(.eventIndex) {
      return driver.availableEvent(queue: queue) == driver.rings[queue].availableIndex
    }
    return driver.load16(driver.rings[queue].used) & 1 == 0
  }

  @Test(
    "no kick is lost, with suppression honoured",
    arguments: [Features(), Features.eventIndex])
  func noLostKick(without: Features) throws {
    let driver = try driver(without: without)
    let heads = (0..<2).map { queue in
      driver.table(driver.request(.flush, 0, []).pieces, queue: queue)
    }
    var kicks = 0
    for round in 0..<600 {
      let queue = round % 2
      let old = driver.rings[queue].availableIndex
      driver.push(heads[queue], queue: queue)
      driver.publish(queue: queue)
      if wantsKick(driver, old, queue: queue) {
        driver.ring(queue)
        kicks += 1
      }
      let index = driver.rings[queue].availableIndex
      guard ThreadTests.wait({ driver.usedIndex(queue: queue) == index }) else {
        Issue.record("round \(round) was never completed")
        return
      }
      // Now and then until the thread asks for kicks, which it does before it sleeps.
      if round % 60 == 0 {
        #expect(ThreadTests.wait { self.asksForKicks(driver, queue: queue) })
      }
    }
    let counted = (0..<2).map { driver.disk.counters(queue: $0).kicks }.reduce(0, +)
    #expect(counted == UInt64(kicks))
    #expect((0..<2).map { driver.disk.counters(queue: $0).requests }.reduce(0, +) == 600)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("packed rings and IN_ORDER served by the thread, suppression honoured")
  func packedSoak() throws {
    for extra: Features in [.ringPacked, [.ringPacked, .inOrder]] {
      for without: Features in [[], .eventIndex] {
        var configuration = PackedRingTests.configuration()
        configuration.mode = .threaded
        configuration.extra = extra
        let driver = try MiniDriver(configuration)
        driver.start(without: without, size: 7)
        try soak(driver)
        #expect(driver.disk.violations.isEmpty)
      }
    }
  }

  /// Keeps up to seven tables in flight for 4,000 requests, and reads what the device wrote.
  func soak(_ driver: MiniDriver) throws {
    let inOrder = driver.features.contains(.inOrder)
    let requests = (0..<7).map { _ in
      driver.request(.read, 0, [.into(driver.address(driver.allocate(512)), 512)])
    }
    let tables = requests.map { request in
      let table = driver.allocate(48)
      for (index, piece) in request.pieces.enumerated() {
        driver.writePacked(
          at: table + 16 * index, piece.address, piece.length, 0, piece.writable ? 2 : 0)
      }
      return driver.address(table)
    }
    var sent = 0
    var done = 0
    while done < 4000 {
      let old = driver.rings[0].packed.next
      var count = 0
      while sent < 4000, sent - done < 7 {
        let id = UInt16(sent % 7)
        driver.store(driver.offset(requests[Int(id)].status), UInt8(0xFF))
        driver.placeDescriptor(tables[Int(id)], 48, 4, id: id)
        driver.rings[0].packed.lists.append(.init(id: id, span: 1))
        sent += 1
        count += 1
      }
      driver.publishPacked()
      if wantsPackedKick(driver, old, count) { driver.ring() }
      let before = driver.rings[0].packed.lists.count
      guard ThreadTests.wait({ driver.peekUsed() != nil }) else {
        Issue.record("request \(done) was never completed")
        return
      }
      let ids = inOrder ? driver.usedInOrder()?.ids ?? [] : [driver.usedPacked()?.id ?? .max]
      for id in ids {
        #expect(id == UInt16(done % 7))
        #expect(driver.bytes(requests[done % 7].status, 1) == [0])
        done += 1
      }
      #expect(before - driver.rings[0].packed.lists.count == ids.count)
      // Now and then until the thread asks for kicks, which it does before it sleeps.
      if done % 1000 == 0 { #expect(ThreadTests.wait { driver.deviceEvent().flags != 1 }) }
    }
    #expect(driver.disk.counters(queue: 0).requests == 4000)
  }

  /// Whether the device wants to be kicked for `count` slots from `old` on.
  func wantsPackedKick(_ driver: MiniDriver, _ old: PackedPlace.Position, _ count: Int) -> Bool {
    chio_fence_full()
    let event = driver.deviceEvent()
    guard event.flags == 2 else { return event.flags == 0 && count > 0 }
    let size = driver.rings[0].size
    return (0..<count).contains { old.advanced($0, size: size).word == event.position }
  }

  @Test("resets, unmaps and capacity changes while it polls") func controlPlane() throws {
    let driver = try driver()
    let memory = MiniDriver.map(4096)
    for round in 0..<50 {
      try driver.function.dma.map(memory, byteCount: 4096, deviceAddress: 0x2_0000_0000)
      let request = driver.request(.read, 0, [.into(0x2_0000_0000, 4096)])
      driver.submit(driver.chain(request.pieces))
      try driver.disk.setCapacity(sectors: 2048 + UInt64(round % 2))
      #expect(ThreadTests.wait { driver.used() != nil })
      #expect(driver.bytes(request.status, 1) == [0])
      try driver.function.dma.unmap(deviceAddress: 0x2_0000_0000, byteCount: 4096)
      if round % 10 == 9 {
        driver.rings = []
        driver.start(queues: 2, size: 32)
      }
    }
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("the function keeps the disk alive; its end stops the thread") func lifetime() throws {
    func function() throws -> any PCIFunction {
      var configuration = EmulatedDisk.Configuration(.null(byteCount: 1 << 20))
      configuration.mode = .threaded
      return try EmulatedDisk(configuration).function
    }
    for _ in 0..<20 {
      let function = try function()
      #expect(try function.identity.device == 0x1042)
      function.close()
    }
  }

  @Test("a queue rung from many threads is served once each, inline") func manyThreads()
    async throws
  {
    let driver = try MiniDriver(.init(.null(byteCount: 1 << 20)))
    driver.start(size: 64)
    let function = driver.function
    let head = driver.table(driver.request(.flush, 0, []).pieces)
    for _ in 0..<20 {
      driver.push(head)
      driver.publish()
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask { function.write(region: 0, offset: 0x3000, width: 2, value: 0) }
        }
      }
      #expect(driver.used() != nil)
      #expect(driver.used() == nil)
    }
    #expect(driver.disk.counters(queue: 0).requests == 20)
  }
}
