import Testing
import VBlkEmu
import Virtio

/// NOTIFICATION_DATA and NOTIF_CONFIG_DATA from the device's side (virtio 1.2, 2.9 and 4.1.5.2),
/// and SUSPEND: row 92 of the device checklist (virtio 1.4, 2.1.2).
@Suite("notifications and suspension") struct NotificationTests {
  private func driver(
    _ features: Features, _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.extra = features
    configuration.queues = 2
    change(&configuration)
    let driver = try MiniDriver(configuration)
    driver.start(queues: 2, size: 8)
    return driver
  }

  private func kick(_ driver: MiniDriver, _ queue: Int, _ width: Int, _ value: UInt32) {
    driver.write(0x3000 + UInt64(4 * queue), width, value)
  }

  /// Makes a flush available on queue 1.
  private func prepare(_ driver: MiniDriver) {
    let request = driver.request(.flush, 0, [])
    driver.push(driver.chain(request.pieces, queue: 1), queue: 1)
    driver.publish(queue: 1)
  }

  @Test("NOTIFICATION_DATA: 32 bits kick, 16 don't; a wrong place is named and served all the same")
  func wide() throws {
    let driver = try driver(.notificationData)
    prepare(driver)
    kick(driver, 1, 2, 1)
    #expect(driver.usedIndex(queue: 1) == 0)
    #expect(driver.disk.violations.map(\.reason) == [.kickWidth])
    kick(driver, 1, 4, 1 | 1 << 16)
    #expect(driver.usedIndex(queue: 1) == 1)
    prepare(driver)
    kick(driver, 1, 4, 1 | 1 << 16)
    #expect(driver.usedIndex(queue: 1) == 2)
    #expect(driver.disk.violations.map(\.reason) == [.kickWidth, .kickDataWrong])
    kick(driver, 1, 4, 0 | 2 << 16)
    #expect(driver.disk.violations.map(\.reason).last == .kickDataWrong)
  }

  @Test("without it 32 bits don't kick")
  func narrow() throws {
    let driver = try driver([])
    prepare(driver)
    kick(driver, 1, 4, 1 | 1 << 16)
    #expect(driver.usedIndex(queue: 1) == 0)
    #expect(driver.disk.violations.map(\.reason) == [.kickWidth])
    kick(driver, 1, 2, 1)
    #expect(driver.usedIndex(queue: 1) == 1)
  }

  @Test("NOTIF_CONFIG_DATA: the register's value kicks, the index doesn't", arguments: [2, 4])
  func configured(width: Int) throws {
    let driver = try driver(
      width == 4 ? [.notificationConfigData, .notificationData] : .notificationConfigData)
    driver.write(CommonConfig.queueSelect, 2, 1)
    let value = driver.read(CommonConfig.queueNotifyData, 2)
    driver.write(CommonConfig.queueSelect, 2, 0)
    #expect(driver.read(CommonConfig.queueNotifyData, 2) != value)
    prepare(driver)
    let place: UInt32 = width == 4 ? 1 << 16 : 0
    kick(driver, 1, width, 1 | place)
    #expect(driver.usedIndex(queue: 1) == 0)
    #expect(driver.disk.violations.map(\.reason) == [.kickValueWrong])
    kick(driver, 1, width, value | place)
    #expect(driver.usedIndex(queue: 1) == 1)
    driver.write(CommonConfig.queueNotifyData, 2, 7)
    #expect(driver.disk.violations.map(\.reason) == [.kickValueWrong, .readOnlyRegister])
  }

  @Test("row 92: suspended, nothing is used or told; resumed, it is")
  func suspended() throws {
    for mode in [EmulatedDisk.Mode.inline, .stepped] {
      let driver = try driver(.suspend) { $0.mode = mode }
      prepare(driver)
      driver.status = driver.status.union(.suspend)
      #expect(driver.status == [.acknowledge, .driver, .featuresOK, .suspend])
      // What was available is drained first; stepped, nobody does that.
      let drained: UInt16 = mode == .inline ? 1 : 0
      #expect(driver.usedIndex(queue: 1) == drained)
      prepare(driver)
      kick(driver, 1, 2, 1)
      driver.disk.serve(queue: 1)
      #expect(driver.usedIndex(queue: 1) == drained)
      #expect(driver.disk.violations.map(\.reason) == [.accessWhileSuspended])
      _ = driver.read(0x1000, 1)
      try driver.disk.setCapacity(sectors: 64)
      #expect(driver.read(0x1000, 1) == 0, "told while suspended")
      driver.write(0x2020, 1, 0)
      #expect(driver.disk.violations.last?.reason == .accessWhileSuspended)
      driver.status = driver.status.union(.driverOK)
      #expect(driver.status == [.acknowledge, .driver, .featuresOK, .driverOK])
      #expect(driver.read(0x1000, 1) & 2 == 2, "told afterwards")
      driver.disk.serve(queue: 1)
      #expect(driver.usedIndex(queue: 1) == 2)
    }
  }

  @Test("row 92: before DRIVER_OK the bit has no effect, without the feature neither")
  func tooEarly() throws {
    let early = try driver(.suspend)
    early.negotiate()
    early.status = early.status.union(.suspend)
    #expect(!early.status.contains(.suspend))
    let without = try driver([])
    without.status = without.status.union(.suspend)
    #expect(without.status == [.acknowledge, .driver, .featuresOK, .driverOK])
    #expect(without.disk.violations.map(\.reason) == [.statusBitReserved])
  }

  @Test("a reset ends a suspension; nothing that waited is told")
  func reset() throws {
    let driver = try driver(.suspend)
    driver.status = driver.status.union(.suspend)
    try driver.disk.setCapacity(sectors: 64)
    driver.start(queues: 2, size: 8)
    #expect(driver.status == [.acknowledge, .driver, .featuresOK, .driverOK])
    #expect(driver.read(0x1000, 1) == 0)
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("identities: ids, revision, and capabilities or none")
  func identities() throws {
    for (identity, id, revision) in [
      (EmulatedDisk.Identity.modern, UInt32(0x1042), UInt32(1)), (.transitional, 0x1001, 0),
      (.legacy, 0x1001, 0),
    ] {
      var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
      configuration.identity = identity
      let function = try EmulatedDisk(configuration).function
      #expect(try function.readConfig(at: 2, width: 2) == id)
      #expect(try function.readConfig(at: 8, width: 1) == revision)
      #expect(try function.readConfig(at: 6, width: 2) & 0x10 == (identity == .legacy ? 0 : 0x10))
    }
  }
}
