import Testing
import VBlkEmu
import Virtio

/// Rows 81-92 of the device checklist: status, negotiation, configuration.
@Suite("status and negotiation") struct StatusTests {
  static func configuration() -> EmulatedDisk.Configuration {
    EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
  }
  let driver: MiniDriver

  init() throws { driver = try MiniDriver(StatusTests.configuration()) }

  @Test("row 81: a reset reads 0 and stops all access") func resetStops() {
    driver.start()
    #expect(driver.perform(.flush)?.status == 0)
    driver.status = []
    #expect(driver.status == [])
    let index = driver.usedIndex()
    #expect(driver.perform(.flush) == nil)
    #expect(driver.usedIndex() == index)
    #expect(driver.reasons == [.kickBeforeDriverOK])
  }

  @Test("row 81: an FLR resets too") func functionReset() throws {
    driver.start()
    try driver.function.reset()
    #expect(driver.status == [])
    driver.rings = []
    driver.start()
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 82: nothing is consumed before DRIVER_OK, nor lost") func beforeDriverOK() {
    driver.negotiate()
    driver.setUp(0, size: 16)
    let request = driver.request(.flush, 0, [])
    driver.submit(driver.chain(request.pieces))
    #expect(driver.usedIndex() == 0)
    driver.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    #expect(driver.used() != nil)
    #expect(driver.reasons == [.kickBeforeDriverOK])
  }

  @Test("row 83: a fatal error sets NEEDS_RESET and raises a configuration interrupt")
  func needsReset() {
    driver.start()
    driver.submit(999)
    #expect(driver.status.contains(.needsReset))
    #expect(driver.read(0x1000, 1) & 2 == 2)
    driver.rings = []
    driver.start()
    #expect(driver.status == [.acknowledge, .driver, .featuresOK, .driverOK])
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 84: VERSION_1 is offered, no orphan is") func offer() throws {
    #expect(driver.offered.contains(.version1))
    var configuration = StatusTests.configuration()
    configuration.withheld = .flush
    let other = try MiniDriver(configuration)
    #expect(!other.offered.contains(.flush))
    #expect(!other.offered.contains(.configWriteCache))
  }

  @Test("row 84: each feature can be withheld by its name") func withholding() throws {
    for name in EmulatedDisk.Configuration.possible.described {
      var configuration = StatusTests.configuration()
      configuration.sizeMax = 4096
      configuration.readOnly = true
      configuration.extra = EmulatedDisk.Configuration.onRequest
      if name == "ZONED" { configuration.zones = .hostAware }
      let full = configuration.offered
      try configuration.withhold(
        named: name.lowercased().map { $0 == "_" ? "-" : String($0) }.joined())
      #expect(configuration.offered != full)
      #expect(configuration.offered.isSubset(of: full))
    }
    var configuration = StatusTests.configuration()
    #expect(throws: EmulatorError.self) { try configuration.withhold(named: "sr-iov") }
  }

  @Test("row 85: a choice that was not offered is refused") func refusesUnoffered() {
    driver.negotiate()
    #expect(driver.status.contains(.featuresOK))
    driver.status = []
    driver.status = [.acknowledge, .driver]
    driver.accept([.version1, .accessPlatform, .ringPacked])
    driver.status = [.acknowledge, .driver, .featuresOK]
    #expect(driver.status == [.acknowledge, .driver])
    #expect(driver.reasons == [.featuresRefused])
  }

  @Test(
    "row 85: a choice without VERSION_1 or ACCESS_PLATFORM is refused",
    arguments: [Features.version1, .accessPlatform])
  func refusesWithout(feature: Features) {
    driver.negotiate(without: feature)
    #expect(!driver.status.contains(.featuresOK))
    #expect(driver.reasons == [.featuresRefused])
    driver.accept(driver.offered)
    driver.status = [.acknowledge, .driver, .featuresOK]
    #expect(driver.status.contains(.featuresOK))
  }

  @Test("row 86: the configuration can be read before FEATURES_OK") func earlyConfig() {
    driver.status = []
    #expect(driver.config(BlockConfigLayout.capacity, 4) == 2048)
    #expect(driver.config(BlockConfigLayout.segMax, 4) == 126)
    #expect(driver.config(BlockConfigLayout.blockSize, 4) == 512)
    #expect(driver.config(BlockConfigLayout.queueCount, 2) == 1)
    #expect(driver.config(BlockConfigLayout.maxDiscardSegments, 4) == 32)
    #expect(driver.config(BlockConfigLayout.writeZeroesMayUnmap, 1) == 1)
  }

  @Test("row 87: FLUSH is offered with CONFIG_WCE") func flushOffered() {
    #expect(driver.offered.isSuperset(of: [.flush, .configWriteCache]))
  }

  @Test("row 88: CONFIG_WCE without FLUSH starts as write-through") func writebackStart() {
    driver.negotiate()
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 1)
    driver.negotiate(without: .flush)
    #expect(driver.status.contains(.featuresOK))
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 0)
    driver.status = []
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 1)
  }

  @Test("row 88: writeback is the one field a driver may write") func writeback() {
    driver.negotiate()
    driver.write(0x2000 + UInt64(BlockConfigLayout.writeback), 1, 0)
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 0)
    #expect(driver.reasons.isEmpty)
    driver.write(0x2000, 4, 7)
    #expect(driver.config(BlockConfigLayout.capacity, 4) == 2048)
    #expect(driver.reasons == [.readOnlyRegister])
    driver.negotiate(without: .configWriteCache)
    driver.write(0x2000 + UInt64(BlockConfigLayout.writeback), 1, 0)
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 1)
  }

  @Test("row 89: unused bytes are 0") func unused() {
    #expect(driver.config(33, 1) == 0)
    #expect(driver.config(57, 1) == 0)
    #expect(driver.config(58, 2) == 0)
    #expect(driver.config(60, 4) == 0)
    #expect(driver.config(96, 4) == 0)
  }

  @Test("row 90, hostile driver 33: with RO every write-class request fails and writes nothing")
  func readOnly() throws {
    var configuration = StatusTests.configuration()
    configuration.readOnly = true
    let driver = try MiniDriver(configuration)
    driver.start(without: .readOnly)
    let data = driver.address(driver.allocate(512, 512))
    driver.fill(data, Array(repeating: 7, count: 512))
    #expect(driver.perform(.write, 0, [.out(data, 512)])?.status == 1)
    driver.fill(data, Array(repeating: 0, count: 8) + [1, 0, 0, 0, 0, 0, 0, 0])
    #expect(driver.perform(.discard, 0, [.out(data, 16)])?.status == 1)
    #expect(driver.perform(.writeZeroes, 0, [.out(data, 16)])?.status == 1)
    #expect(driver.perform(.flush)?.status == 0)
    #expect(driver.read(sector: 0, 512) == Array(repeating: 0, count: 512))
  }

  @Test("configuration bytes can be overridden and cut short") func lies() throws {
    var configuration = StatusTests.configuration()
    configuration.configOverrides = [0: 0xFF, 20: 1]
    configuration.configByteCount = 24
    let driver = try MiniDriver(configuration)
    #expect(driver.config(0, 4) == 0x8FF)
    #expect(driver.config(20, 4) == 0x201)
    #expect(driver.config(36, 4) == 0)
    #expect(try driver.capability(.deviceConfig)?.byteCount == 24)
  }

  @Test("size_max: not offered, offered, offered as 0") func sizeMax() throws {
    #expect(!driver.offered.contains(.sizeMax))
    for value: UInt32 in [0, 65_536] {
      var configuration = StatusTests.configuration()
      configuration.sizeMax = value
      let driver = try MiniDriver(configuration)
      #expect(driver.offered.contains(.sizeMax))
      #expect(driver.config(BlockConfigLayout.sizeMax, 4) == value)
    }
  }
}
