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
