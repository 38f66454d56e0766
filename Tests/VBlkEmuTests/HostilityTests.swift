import Testing
import VBlkEmu
import Virtio

/// Each hostile switch does what its row says, as a driver sees it; without it the device is
/// honest.
@Suite("hostility") struct HostilityTests {
  func driver(
    _ hostility: Hostility = [], _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.hostility = hostility
    change(&configuration)
    return try MiniDriver(configuration)
  }

  func started(_ hostility: Hostility) throws -> MiniDriver {
    let driver = try driver(hostility)
    driver.start(size: 16)
    return driver
  }

  /// One read of a sector, completed by a hostile device.
  func read(_ driver: MiniDriver) -> (head: UInt16, target: UInt64, status: UInt64) {
    let target = driver.address(driver.allocate(512))
    let request = driver.request(.read, 0, [.into(target, 512)])
    let head = driver.chain(request.pieces)
    driver.submit(head)
    return (head, target, request.status)
  }

  @Test("rows 1, 2: used ids") func usedIDs() throws {
    var driver = try started(.usedIDOutOfRange)
    var request = read(driver)
    #expect(driver.used()?.id == UInt32(request.head) + 16)
    driver = try started(.usedIDNotHead)
    request = read(driver)
    #expect(driver.used()?.id == UInt32(request.head) + 1)
    driver = try started(.usedIDDuplicate)
    request = read(driver)
    #expect(driver.used()?.id == UInt32(request.head))
    #expect(driver.used()?.id == UInt32(request.head))
    #expect(driver.used() == nil)
  }

  @Test("rows 3, 4: used indexes") func usedIndexes() throws {
    var driver = try started(.usedIndexJumps)
    _ = read(driver)
    #expect(driver.usedIndex() == 18)
    driver = try started(.usedIndexGoesBack)
    _ = read(driver)
    #expect(driver.usedIndex() == 0xFFFF)
  }

  @Test("rows 5, 6, 8: used lengths") func usedLengths() throws {
    var driver = try started(.usedLengthTooLong)
    _ = read(driver)
    #expect(driver.used()?.length == .max)
    driver = try started(.usedLengthShort)
    var request = read(driver)
    #expect(driver.used()?.length == 1)
    #expect(driver.bytes(request.status, 1) == [0])
    driver = try started(.usedLengthZero)
    request = read(driver)
    #expect(driver.used()?.length == 0)
    #expect(driver.bytes(request.status, 1) == [0xFF])
  }

  @Test("row 7: statuses") func statuses() throws {
    for (hostility, status): (Hostility, UInt8) in [(.statusOutOfRange, 0x77), (.statusZoned, 5)] {
      let driver = try started(hostility)
      let request = read(driver)
      #expect(driver.bytes(request.status, 1) == [status])
    }
  }

  @Test("rows 9, 30: what the device had better not write") func writes() throws {
    var driver = try started(.scribblesDescriptors)
    var request = read(driver)
    let descriptor = driver.rings[0].descriptors + 16 * Int(request.head)
    #expect(driver.load(descriptor, UInt32.self) == 0xDEAD_BEEF)
    driver = try started(.changesDataAfterCompletion)
    request = read(driver)
    #expect(driver.bytes(request.target, 2) == [0xEE, 0])
  }

  @Test("rows 12, 13, 14, 28: kicks and notifications") func notifications() throws {
    var driver = try started(.suppressesKicks)
    _ = read(driver)
    #expect(driver.availableEvent() == 0)
    driver = try started(.availableEventGarbage)
    _ = read(driver)
    #expect(driver.load(driver.rings[0].used, UInt16.self) == 0xFFFE)
    driver = try started(.neverNotifies)
    _ = read(driver)
    #expect(driver.disk.counters(queue: 0).notifications == 0)
    driver = try started(.notifiesTwice)
    _ = read(driver)
    #expect(driver.disk.counters(queue: 0).notifications == 2)
    driver = try started(.configInterruptStorm)
    _ = driver.read(0x1000, 1)
    _ = read(driver)
    #expect(driver.read(0x1000, 1) & 2 == 2)
  }

  @Test("skip and count: honest before and after") func turns() throws {
    let driver = try started([])
    driver.disk.misbehave(.usedLengthTooLong, skip: 1, count: 1)
    var lengths: [UInt32?] = []
    for _ in 0..<3 {
      _ = read(driver)
      lengths.append(driver.used()?.length)
    }
    #expect(lengths == [513, .max, 513])
  }

  @Test("row 15: FEATURES_OK is refused, or VERSION_1 missing") func features() throws {
    var driver = try driver(.refusesFeatures)
    driver.negotiate()
    #expect(!driver.status.contains(.featuresOK))
    driver = try self.driver(.withoutVersion1)
    #expect(!driver.offered.contains(.version1))
    driver.negotiate()
    #expect(driver.status.contains(.featuresOK))
  }

  @Test("row 16: features that change, or hang in the air") func featureLies() throws {
    var driver = try driver(.featuresChange)
    #expect(driver.offered != driver.offered)
    driver = try self.driver(.orphanedFeatures)
    #expect(driver.offered.contains(.configWriteCache))
    #expect(!driver.offered.contains(.flush))
  }

  @Test("rows 17, 27, 29: reset, generation, early NEEDS_RESET") func registers() throws {
    var driver = try driver(.resetNeverEnds)
    #expect(driver.status == [])
    driver.status = .acknowledge
    driver.status = []
    for _ in 0..<100 { #expect(driver.status != []) }
    driver = try self.driver(.generationStorm)
    let generations = (0..<4).map { _ in driver.read(CommonConfig.configGeneration, 1) }
    #expect(Set(generations).count == 4)
    driver = try self.driver(.needsResetEarly)
    driver.negotiate()
    #expect(driver.status.contains(.needsReset))
  }

  @Test("row 18: capabilities") func capabilities() throws {
    #expect(try driver(.capabilityLoop).capabilities().count == 48)
    #expect(try driver(.capabilityBarInvalid).capability(.commonConfig)?.bar == 7)
    let outside = try driver(.capabilityOutsideBar).capability(.deviceConfig)
    #expect(outside?.barOffset == 0x4000)
    let wraps = try #require(try driver(.capabilityWraps).capability(.notify))
    #expect(UInt64(wraps.barOffset) + UInt64(wraps.byteCount) > UInt64(UInt32.max))
    let short = try driver(.capabilityTooShort).capability(.commonConfig)
    #expect(short?.length == 8 && short?.byteCount == 8)
    #expect(try driver(.capabilityMissing).capability(.notify) == nil)
  }

  @Test("rows 19, 20: queue registers") func queueRegisters() throws {
    for (hostility, register, value): (Hostility, UInt64, UInt32) in [
      (.notifyOffsetOutOfRange, CommonConfig.queueNotifyOffset, 0xFFF0),
      (.queueSizeZero, CommonConfig.queueSize, 0),
      (.queueSizeOdd, CommonConfig.queueSize, 255),
      (.queueSizeHuge, CommonConfig.queueSize, 0xFFFF),
    ] {
      #expect(try driver(hostility).read(register, 2) == value)
    }
    let driver = try driver(.queueSizeIgnored)
    driver.write(CommonConfig.queueSize, 2, 16)
    #expect(driver.read(CommonConfig.queueSize, 2) == 256)
  }

  @Test("rows 21-25: configuration fields") func fields() throws {
    typealias Layout = BlockConfigLayout
    let cases: [(Hostility, Int, Int, UInt32)] = [
      (.queueCountZero, Layout.queueCount, 2, 0),
      (.queueCountHuge, Layout.queueCount, 2, 0xFFFF),
      (.capacityZero, Layout.capacity, 4, 0),
      (.capacityHuge, Layout.capacity + 4, 4, .max),
      (.blockSizeZero, Layout.blockSize, 4, 0),
      (.blockSizeOdd, Layout.blockSize, 4, 513),
      (.blockSizeHuge, Layout.blockSize, 4, 1 << 31),
      (.topologyAbsurd, Layout.physicalBlockExponent, 1, 255),
      (.segMaxZero, Layout.segMax, 4, 0),
      (.sizeMaxTiny, Layout.sizeMax, 4, 1),
      (.discardLimitsZero, Layout.maxDiscardSectors, 4, 0),
      (.discardLimitsZero, Layout.maxWriteZeroesSegments, 4, 0),
    ]
    for (hostility, offset, width, value) in cases {
      let driver = try driver(hostility)
      #expect(driver.config(offset, width) == value, "\(hostility)")
      if hostility == .sizeMaxTiny { #expect(driver.offered.contains(.sizeMax)) }
    }
  }

  @Test("every switch leaves the emulator itself sound") func sound() throws {
    for hostility in Hostility.all {
      let driver = try started(hostility)
      for _ in 0..<4 { _ = read(driver) }
      driver.status = []
    }
  }
}
