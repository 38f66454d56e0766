import Testing
import VBlkEmu
import Virtio

/// The hostile-driver table, rows 35-42: registers, status, doorbells.
@Suite("hostile drivers at the registers") struct HostileSetupTests {
  let driver: MiniDriver

  init() throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.queues = 2
    driver = try MiniDriver(configuration)
  }

  @Test("row 35: registers written after enable change nothing") func afterEnable() {
    driver.start(size: 16)
    let fields: [(UInt64, Int)] = [
      (CommonConfig.queueSize, 2), (CommonConfig.queueVector, 2),
      (CommonConfig.queueDescriptors, 4), (CommonConfig.queueDriver + 4, 4),
      (CommonConfig.queueDevice, 4),
    ]
    for (offset, width) in fields {
      let before = driver.read(offset, width)
      driver.write(offset, width, 8)
      #expect(driver.read(offset, width) == before)
      #expect(driver.reasons.last == .registerAfterEnable)
    }
    driver.write(CommonConfig.queueEnable, 2, 1)
    #expect(driver.reasons.last == .registerAfterEnable)
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 35: 0 to queue_enable is ignored") func disable() {
    driver.start(size: 16)
    driver.write(CommonConfig.queueEnable, 2, 0)
    #expect(driver.read(CommonConfig.queueEnable, 2) == 1)
    #expect(driver.reasons == [.queueDisabled])
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 35: sizes that are none", arguments: [0 as UInt32, 3, 257, 512, 0xFFFF])
  func sizes(size: UInt32) {
    driver.negotiate()
    driver.write(CommonConfig.queueSize, 2, size)
    #expect(driver.read(CommonConfig.queueSize, 2) == 256)
    #expect(driver.reasons == [.queueSizeInvalid])
  }

  @Test("row 35: areas that are misaligned, outside or overlapping break the device") func areas() {
    let base = MiniDriver.base
    for (descriptors, available, used, reason): (UInt64, UInt64, UInt64, Violation.Reason) in [
      (base + 8, base + 0x2000, base + 0x4000, .areaMisaligned),
      (base, base + 0x2001, base + 0x4000, .areaMisaligned),
      (base, base + 0x2000, base + 0x4002, .areaMisaligned),
      (0, 0, 0, .areaUnmapped),
      (base, base + 0x10, base + 0x4000, .areasOverlap),
      (base, base + 0x2000, 0x4000, .areaUnmapped),
      (base + UInt64(MiniDriver.memoryByteCount) - 16, base, base + 0x4000, .areaUnmapped),
      (.max - 15, base, base + 0x4000, .areaUnmapped),
    ] {
      driver.negotiate()
      driver.write64(CommonConfig.queueDescriptors, descriptors)
      driver.write64(CommonConfig.queueDriver, available)
      driver.write64(CommonConfig.queueDevice, used)
      driver.write(CommonConfig.queueEnable, 2, 1)
      #expect(driver.read(CommonConfig.queueEnable, 2) == 0)
      #expect(driver.status.contains(.needsReset))
      #expect(driver.disk.violations.last?.reason == reason)
      #expect(driver.disk.violations.last?.consequence == .queueBroken)
    }
  }

  @Test(
    "row 36: a select beyond the queues reads 0 and no vector", arguments: [2 as UInt32, 0xFFFF])
  func select(queue: UInt32) {
    driver.negotiate()
    driver.write(CommonConfig.queueSelect, 2, queue)
    for offset in [
      CommonConfig.queueSize, CommonConfig.queueEnable, CommonConfig.queueNotifyOffset,
    ] {
      #expect(driver.read(offset, 2) == 0)
    }
    #expect(driver.read(CommonConfig.queueVector, 2) == 0xFFFF)
    #expect(driver.read64(CommonConfig.queueDevice) == 0)
    driver.write(CommonConfig.queueEnable, 2, 1)
    driver.write(CommonConfig.queueVector, 2, 0)
    #expect(driver.reasons == [.queueSelectOutOfRange, .queueSelectOutOfRange])
  }

  @Test("row 37: a huge feature select reads 0 and writes nothing") func featureSelect() {
    driver.write(CommonConfig.driverFeatureSelect, 4, 2)
    driver.write(CommonConfig.driverFeature, 4, .max)
    #expect(driver.read(CommonConfig.driverFeature, 4) == 0)
    driver.write(CommonConfig.driverFeatureSelect, 4, .max)
    driver.write(CommonConfig.driverFeature, 4, .max)
    driver.write(CommonConfig.driverFeatureSelect, 4, 0)
    #expect(driver.read(CommonConfig.driverFeature, 4) == 0)
  }

  @Test("row 38: a vector out of range is NO_VECTOR") func vector() {
    driver.negotiate()
    driver.setUp(0, size: 16, vector: 9)
    #expect(driver.read(CommonConfig.queueVector, 2) == 0xFFFF)
    #expect(driver.reasons == [.vectorOutOfRange])
  }

  @Test("row 39: status steps skipped") func skipped() {
    driver.status = []
    driver.status = .driverOK
    #expect(driver.status == [])
    driver.status = [.acknowledge, .featuresOK]
    #expect(driver.status == .acknowledge)
    driver.status = [.acknowledge, .driver, .driverOK]
    #expect(driver.status == [.acknowledge, .driver])
    #expect(driver.reasons == [.statusStepSkipped, .statusStepSkipped, .statusStepSkipped])
  }

  @Test("row 39: status bits cleared") func cleared() {
    driver.start(size: 16)
    driver.status = [.acknowledge, .driver]
    #expect(driver.status == [.acknowledge, .driver, .featuresOK, .driverOK])
    #expect(driver.reasons == [.statusBitCleared])
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 39: NEEDS_RESET and reserved bits are not the driver's") func reserved() {
    driver.status = []
    driver.write(CommonConfig.deviceStatus, 1, 0x71)
    #expect(driver.status == .acknowledge)
    #expect(driver.reasons == [.statusBitReserved])
  }

  @Test("row 39: features after FEATURES_OK") func lateFeatures() {
    driver.negotiate()
    let before = driver.read(CommonConfig.driverFeature, 4)
    driver.write(CommonConfig.driverFeature, 4, 0)
    #expect(driver.read(CommonConfig.driverFeature, 4) == before)
    #expect(driver.reasons == [.featuresAfterNegotiation])
  }

  @Test("row 39: nothing is consumed after FAILED") func failed() {
    driver.start(size: 16)
    driver.status = [.acknowledge, .driver, .featuresOK, .driverOK, .failed]
    #expect(driver.perform(.flush) == nil)
    #expect(driver.reasons == [.kickBeforeDriverOK])
  }

  @Test("row 40: kicks that mean nothing are counted and named") func kicks() throws {
    driver.ring(0)
    #expect(driver.reasons.last == .kickBeforeDriverOK)
    driver.start(size: 16)
    driver.ring(1)
    #expect(driver.reasons.last == .kickOfDisabledQueue)
    driver.write(0x3000, 2, 1)
    #expect(driver.reasons.last == .kickOutOfRange)
    driver.write(0x3000, 2, 0xFFFF)
    #expect(driver.reasons.last == .kickOutOfRange)
    driver.write(0x3008, 2, 2)
    #expect(driver.reasons.last == .kickOutOfRange)
    driver.write(0x3000, 4, 0)
    #expect(driver.reasons.last == .kickWidth)
    driver.write(0x3000, 1, 0)
    #expect(driver.reasons.last == .kickWidth)
    try driver.function.setBusMaster(false)
    driver.ring(0)
    #expect(driver.reasons.last == .kickWithoutBusMaster)
    try driver.function.setBusMaster(true)
    let before = driver.disk.violations.count
    for _ in 0..<1000 { driver.ring(0) }
    #expect(driver.disk.violations.count == before)
    #expect(driver.disk.counters(queue: 0).kicks >= 1000)
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 41: a reset during I/O: nothing touches memory afterwards") func resetDuring() throws {
    driver.start(size: 16)
    driver.disk.setFaults([FaultRule(.hold)])
    let target = driver.address(driver.allocate(512))
    driver.fill(target, Array(repeating: 0xA5, count: 512))
    let request = driver.request(.read, 0, [.into(target, 512)])
    driver.submit(driver.chain(request.pieces))
    driver.status = []
    driver.status = []
    #expect(driver.disk.releaseHeld(queue: 0) == 0)
    #expect(driver.bytes(target, 512) == Array(repeating: 0xA5, count: 512))
    #expect(driver.bytes(request.status, 1) == [0xFF])
    #expect(driver.usedIndex() == 0)
  }

  @Test("row 41: rings unmapped while enabled break the queue") func ringsUnmapped() throws {
    driver.start(size: 16)
    #expect(driver.perform(.flush)?.status == 0)
    try driver.function.dma.unmap(
      deviceAddress: MiniDriver.base, byteCount: MiniDriver.memoryByteCount)
    driver.ring(0)
    #expect(driver.reasons == [.ringUnmapped])
    #expect(driver.status.contains(.needsReset))
  }

  @Test("row 42: odd accesses to the registers are ignored") func accesses() {
    driver.start(size: 16)
    let status = driver.status
    for (offset, width): (UInt64, Int) in [
      (0, 2), (1, 1), (0x14, 2), (0x14, 4), (0x16, 1), (0x20, 2), (0x20, 8), (0x38, 2), (0x3A, 2),
      (0x40, 4), (0xFFC, 4), (0x1000, 2), (0x3F00, 2), (0x3FFF, 2), (0x4000, 4), (.max, 1),
    ] {
      _ = driver.read(offset, width)
      driver.write(offset, width, 0)
    }
    #expect(driver.function.read(region: 3, offset: 0, width: 4) == .max)
    #expect(driver.function.read(region: -1, offset: 0, width: 4) == .max)
    #expect(driver.function.read(region: 2, offset: 0, width: 4) == 0)
    for offset in [
      CommonConfig.deviceFeature, CommonConfig.queueCount, CommonConfig.configGeneration,
    ] {
      driver.write(offset, offset == CommonConfig.deviceFeature ? 4 : offset == 0x12 ? 2 : 1, 1)
      #expect(driver.reasons.last == .readOnlyRegister)
    }
    #expect(driver.status == status)
    #expect(driver.reasons.contains(.registerAccess))
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 42: configuration reads of any width, beyond the end 0") func configReads() {
    for offset in 0..<128 {
      for width in [1, 2, 4] where offset % width == 0 {
        let value = driver.config(offset, width)
        if offset >= 60 { #expect(value == 0) }
      }
    }
    #expect(driver.config(20, 2) == 512)
    #expect(driver.config(21, 1) == 2)
  }
}
