import Testing
import VBlkEmu
import Virtio

/// RING_RESET from the device's side: row 79 of the device checklist (virtio 1.2, 2.6.1 and
/// 4.1.4.3.1).
@Suite("queue reset") struct QueueResetTests {
  private func driver(
    packed: Bool = false, _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.extra = packed ? [.ringReset, .ringPacked] : .ringReset
    configuration.queues = 2
    change(&configuration)
    return try MiniDriver(configuration)
  }

  private func reset(_ driver: MiniDriver, _ queue: Int = 0, value: UInt32 = 1) {
    driver.write(CommonConfig.queueSelect, 2, UInt32(queue))
    driver.write(CommonConfig.queueReset, 2, value)
  }

  @Test(
    "row 78: queue_reset reads 0 after a reset, after enabling, and of a queue that isn't there")
  func reads() throws {
    let driver = try driver()
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
    driver.start(queues: 2)
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
    driver.write(CommonConfig.queueSelect, 2, 9)
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test(
    "row 79: all of the queue is as at first, the other one untouched", arguments: [true, false])
  func defaults(packed: Bool) throws {
    let driver = try driver(packed: packed)
    driver.start(queues: 2, size: 8)
    reset(driver)
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
    #expect(driver.read(CommonConfig.queueEnable, 2) == 0)
    #expect(driver.read(CommonConfig.queueSize, 2) == 256)
    #expect(driver.read(CommonConfig.queueVector, 2) == 0xFFFF)
    for area in [CommonConfig.queueDescriptors, CommonConfig.queueDriver, CommonConfig.queueDevice]
    { #expect(driver.read64(area) == 0) }
    driver.write(CommonConfig.queueSelect, 2, 1)
    #expect(driver.read(CommonConfig.queueEnable, 2) == 1)
    #expect(driver.read(CommonConfig.queueSize, 2) == 8)
    #expect(driver.status == [.acknowledge, .driver, .featuresOK, .driverOK])
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 79: what was in flight is never executed nor told; another set-up works")
  func inFlight() throws {
    for size in [4, 64, 1] {
      let driver = try driver {
        $0.mode = .stepped
        $0.extra.insert(.inOrder)
      }
      driver.start(size: 8)
      let held = driver.request(.write, 0, [.out(driver.address(driver.allocate(512)), 512)])
      driver.submit(driver.chain(held.pieces))
      let waiting = driver.request(.flush, 0, [])
      driver.submit(driver.chain(waiting.pieces))
      let handle = try #require(driver.disk.fetch(queue: 0))
      reset(driver)
      #expect(throws: EmulatorError.self) { try driver.disk.complete(handle) }
      #expect(driver.disk.available(queue: 0) == 0)
      driver.disk.serve(queue: 0)
      #expect(driver.usedIndex() == 0)
      #expect(driver.load(driver.offset(held.status), UInt8.self) == 0xFF)
      #expect(driver.load(driver.offset(waiting.status), UInt8.self) == 0xFF)
      driver.setUp(0, size: size)
      let again = driver.request(.flush, 0, [])
      driver.submit(size == 1 ? driver.table(again.pieces) : driver.chain(again.pieces))
      driver.disk.serve(queue: 0)
      #expect(driver.used()?.length == 1)
      #expect(driver.load(driver.offset(again.status), UInt8.self) == 0)
      #expect(driver.disk.violations.isEmpty, "\(driver.disk.violations)")
    }
  }

  @Test("without the feature, and with other values, nothing happens and it is named")
  func refused() throws {
    let without = try driver()
    without.start(without: .ringReset)
    reset(without)
    #expect(without.read(CommonConfig.queueEnable, 2) == 1)
    #expect(without.disk.violations.map(\.reason) == [.queueResetInvalid])
    let with = try driver()
    with.start()
    reset(with, value: 0)
    reset(with, value: 3)
    #expect(with.read(CommonConfig.queueEnable, 2) == 1)
    #expect(with.disk.violations.map(\.reason) == [.queueResetInvalid, .queueResetInvalid])
    // A register that isn't there.
    var plain = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    plain.queues = 1
    let none = try MiniDriver(plain)
    none.start()
    #expect(none.read(CommonConfig.queueReset, 2) == 0)
    #expect(none.disk.violations.map(\.reason) == [.registerAccess])
  }

  @Test("row 17: the switch holds the register at 1, after a reset only")
  func stuck() throws {
    let driver = try driver { $0.hostility = .queueResetNeverEnds }
    driver.start()
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
    reset(driver)
    for _ in 0..<10 { #expect(driver.read(CommonConfig.queueReset, 2) == 1) }
    driver.start()
    #expect(driver.read(CommonConfig.queueReset, 2) == 0)
  }
}
