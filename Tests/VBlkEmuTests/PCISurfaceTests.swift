import CHostIO
import Glibc
import Testing
import VBlkEmu
import Virtio

/// A capability as a driver finds it.
struct Capability {
  var offset: Int
  var id: UInt8
  var length: Int
  var type: UInt8
  var bar: UInt8
  var barOffset: UInt32
  var byteCount: UInt32
}

extension MiniDriver {
  /// Walks the capability list, at most 48 of them.
  func capabilities() throws -> [Capability] {
    var all: [Capability] = []
    var offset = Int(try function.readConfig(at: 0x34, width: 1))
    while offset != 0, all.count < 48 {
      func byte(_ at: Int) throws -> UInt8 {
        UInt8(try function.readConfig(at: offset + at, width: 1))
      }
      all.append(
        Capability(
          offset: offset, id: try byte(0), length: Int(try byte(2)), type: try byte(3),
          bar: try byte(4), barOffset: try function.readConfig(at: offset + 8, width: 4),
          byteCount: try function.readConfig(at: offset + 12, width: 4)))
      offset = Int(try byte(1))
    }
    return all
  }

  func capability(_ type: VirtioCapabilityType) throws -> Capability? {
    try capabilities().first { $0.id == 9 && $0.type == type.rawValue }
  }

  var reasons: [Violation.Reason] { disk.violations.map(\.reason) }
}

/// Rows 68-80 of the device checklist.
@Suite("the PCI surface") struct PCISurfaceTests {
  let driver: MiniDriver

  init() throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.queues = 2
    driver = try MiniDriver(configuration)
  }

  @Test("row 68: vendor, device, revision, subsystem") func identity() throws {
    let identity = try driver.function.identity
    #expect(identity.vendor == 0x1AF4)
    #expect(identity.device == 0x1042)
    #expect(try driver.function.readConfig(at: 8, width: 1) >= 1)
    #expect(try driver.function.readConfig(at: 0x2E, width: 2) >= 0x40)
  }

  @Test("row 69: one capability of each kind, lengths cover the extra bytes")
  func capabilities() throws {
    for type: VirtioCapabilityType in [.commonConfig, .notify, .isr, .deviceConfig, .pciConfig] {
      let capability = try #require(try driver.capability(type))
      let long = type == .notify || type == .pciConfig
      #expect(capability.length == (long ? 20 : 16))
    }
  }

  @Test("row 70: alignment, multiplier, and length of the notification area")
  func geometry() throws {
    let common = try #require(try driver.capability(.commonConfig))
    let device = try #require(try driver.capability(.deviceConfig))
    let notify = try #require(try driver.capability(.notify))
    #expect(common.barOffset % 4 == 0)
    #expect(device.barOffset % 4 == 0)
    #expect(notify.barOffset % 2 == 0)
    let multiplier = try driver.function.readConfig(at: notify.offset + 16, width: 4)
    #expect(multiplier.nonzeroBitCount <= 1)
    var highest: UInt32 = 0
    for queue in 0..<2 {
      driver.write(CommonConfig.queueSelect, 2, UInt32(queue))
      highest = max(highest, driver.read(CommonConfig.queueNotifyOffset, 2))
    }
    #expect(notify.byteCount >= highest * multiplier + 2)
    for capability in [common, device, notify] {
      let end = UInt64(capability.barOffset) + UInt64(capability.byteCount)
      #expect(end <= driver.function.regionByteCount(Int(capability.bar)))
    }
  }

  @Test("row 71: 64-bit fields are two 32-bit halves") func halves() {
    driver.write(CommonConfig.queueSelect, 2, 1)
    driver.write(CommonConfig.queueDescriptors + 4, 4, 0x12)
    driver.write(CommonConfig.queueDescriptors, 4, 0x3456_7000)
    #expect(driver.read64(CommonConfig.queueDescriptors) == 0x12_3456_7000)
    #expect(driver.config(BlockConfigLayout.capacity, 4) == 2048)
    #expect(driver.config(BlockConfigLayout.capacity + 4, 4) == 0)
  }

  @Test("row 72: the PCI_CFG window reads, writes and rings") func window() throws {
    driver.start()
    let window = try #require(try driver.capability(.pciConfig)).offset
    func move(_ offset: UInt32, _ width: UInt32) throws {
      try driver.function.writeConfig(at: window + 4, width: 1, value: 0)
      try driver.function.writeConfig(at: window + 8, width: 4, value: offset)
      try driver.function.writeConfig(at: window + 12, width: 4, value: width)
    }
    try move(UInt32(CommonConfig.deviceStatus), 1)
    #expect(try driver.function.readConfig(at: window + 16, width: 1) == 15)
    try move(0x2000, 4)
    #expect(try driver.function.readConfig(at: window + 16, width: 4) == 2048)
    let request = driver.request(.flush, 0, [])
    driver.push(driver.chain(request.pieces))
    driver.publish()
    try move(0x3000, 2)
    try driver.function.writeConfig(at: window + 16, width: 2, value: 0)
    #expect(driver.used() != nil)
    #expect(driver.reasons.isEmpty)
  }

  @Test("row 72: a window outside the BARs is ignored and named") func windowOutside() throws {
    let window = try #require(try driver.capability(.pciConfig)).offset
    for (bar, offset, width): (UInt32, UInt32, UInt32) in [
      (6, 0, 4), (0, 0x4000, 4), (0, 2, 4), (0, 0, 3), (0, 0, 8), (0, 0xFFFF_FFFF, 1),
    ] {
      try driver.function.writeConfig(at: window + 4, width: 1, value: bar)
      try driver.function.writeConfig(at: window + 8, width: 4, value: offset)
      try driver.function.writeConfig(at: window + 12, width: 4, value: width)
      #expect(try driver.function.readConfig(at: window + 16, width: 4) == 0)
      #expect(driver.reasons.last == .configWindowInvalid)
    }
  }

  @Test("row 74: the interrupt status is set with MSI-X off, and cleared by the read")
  func interruptStatus() {
    driver.start(without: .eventIndex)
    #expect(driver.perform(.flush)?.status == 0)
    #expect(driver.read(0x1000, 1) == 1)
    #expect(driver.read(0x1000, 1) == 0)
    driver.disk.needsReset()
    #expect(driver.read(0x1000, 1) == 2)
  }

  @Test("row 75: vectors: read back, refused, unmapped by a reset") func vectors() {
    driver.write(CommonConfig.configVector, 2, 2)
    #expect(driver.read(CommonConfig.configVector, 2) == 2)
    driver.write(CommonConfig.configVector, 2, 3)
    #expect(driver.read(CommonConfig.configVector, 2) == 0xFFFF)
    driver.write(CommonConfig.queueVector, 2, 1)
    #expect(driver.read(CommonConfig.queueVector, 2) == 1)
    driver.write(CommonConfig.queueVector, 2, 0xFFFF)
    #expect(driver.read(CommonConfig.queueVector, 2) == 0xFFFF)
    driver.write(CommonConfig.queueVector, 2, 1)
    driver.status = []
    #expect(driver.read(CommonConfig.queueVector, 2) == 0xFFFF)
    #expect(driver.reasons == [.vectorOutOfRange])
  }

  @Test("row 75: MSI-X reports its table size") func tableSize() throws {
    let capability = try #require(try driver.capabilities().first { $0.id == 0x11 })
    #expect(try driver.function.readConfig(at: capability.offset + 2, width: 2) & 0x7FF == 2)
    #expect(driver.function.interruptVectorCount == 3)
  }

  @Test("row 76: features show in halves, 0 beyond; the driver's read back") func features() {
    driver.write(CommonConfig.deviceFeatureSelect, 4, 2)
    #expect(driver.read(CommonConfig.deviceFeature, 4) == 0)
    driver.write(CommonConfig.deviceFeatureSelect, 4, 0xFFFF_FFFF)
    #expect(driver.read(CommonConfig.deviceFeature, 4) == 0)
    #expect(driver.offered == driver.disk.configuration.offered)
    driver.accept([.version1, .accessPlatform, .flush])
    driver.write(CommonConfig.driverFeatureSelect, 4, 1)
    #expect(driver.read(CommonConfig.driverFeature, 4) == 3)
    driver.write(CommonConfig.driverFeatureSelect, 4, 0)
    #expect(driver.read(CommonConfig.driverFeature, 4) == 1 << 9)
  }

  @Test("row 77: the generation changes with the configuration, and wraps") func generation() throws
  {
    var last = driver.read(CommonConfig.configGeneration, 1)
    for step in 0..<260 {
      try driver.disk.setCapacity(sectors: 2048 - UInt64(step % 2))
      let next = driver.read(CommonConfig.configGeneration, 1)
      #expect(next != last)
      last = next
    }
  }

  @Test("row 78: sizes, and what a reset leaves") func queueRegisters() {
    driver.write(CommonConfig.queueSelect, 2, 2)
    #expect(driver.read(CommonConfig.queueSize, 2) == 0)
    driver.write(CommonConfig.queueSelect, 2, 0)
    #expect(SplitLayout.isLegal(size: Int(driver.read(CommonConfig.queueSize, 2))))
    driver.start(size: 8)
    #expect(driver.read(CommonConfig.queueEnable, 2) == 1)
    driver.status = []
    #expect(driver.read(CommonConfig.queueEnable, 2) == 0)
    #expect(driver.read(CommonConfig.queueSize, 2) == 256)
    #expect(driver.read64(CommonConfig.queueDescriptors) == 0)
  }

  @Test("an interrupt goes to the eventfd of its vector") func eventfds() throws {
    let queueEvent = eventfd(0, CInt(EFD_NONBLOCK))
    let configEvent = eventfd(0, CInt(EFD_NONBLOCK))
    defer {
      close(queueEvent)
      close(configEvent)
    }
    try driver.function.setInterrupt(vector: 1, eventfd: queueEvent)
    try driver.function.setInterrupt(vector: 0, eventfd: configEvent)
    driver.negotiate(without: .eventIndex)
    driver.write(CommonConfig.configVector, 2, 0)
    driver.setUp(0, size: 16, vector: 1)
    driver.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    var count: UInt64 = 0
    #expect(driver.perform(.flush)?.status == 0)
    #expect(Glibc.read(queueEvent, &count, 8) == 8 && count == 1)
    #expect(Glibc.read(configEvent, &count, 8) == -1)
    try driver.disk.setCapacity(sectors: 1024)
    #expect(Glibc.read(configEvent, &count, 8) == 8 && count == 1)
    try driver.function.setInterrupt(vector: 1, eventfd: nil)
    #expect(driver.perform(.flush)?.status == 0)
    #expect(Glibc.read(queueEvent, &count, 8) == -1)
    #expect(throws: PCIError.self) {
      try driver.function.setInterrupt(vector: 3, eventfd: queueEvent)
    }
  }

  @Test("after removal every read is all ones and nothing is served") func removal() throws {
    driver.start()
    driver.disk.remove()
    #expect(driver.status == .removed)
    #expect(driver.config(0, 4) == .max)
    #expect(driver.read(CommonConfig.queueSize, 2) == 0xFFFF)
    #expect(try driver.function.readConfig(at: 0, width: 4) == .max)
    #expect(driver.perform(.flush) == nil)
    #expect(throws: PCIError.self) { try driver.function.reset() }
  }

  @Test("BARs have their sizes, and can't be mapped") func bars() throws {
    #expect(driver.function.regionByteCount(0) == 0x4000)
    #expect(driver.function.regionByteCount(1) == 0)
    #expect(driver.function.regionByteCount(2) == 0x1_0000)
    #expect(driver.function.regionByteCount(7) == 0)
    #expect(driver.function.mapped(region: 0, offset: 0x3000, count: 4) == nil)
    try driver.function.writeConfig(at: 0x10, width: 4, value: .max)
    #expect(try driver.function.readConfig(at: 0x10, width: 4) == 0xFFFF_C004)
    #expect(throws: PCIError.self) { try driver.function.readConfig(at: 256, width: 1) }
    #expect(throws: PCIError.self) { try driver.function.readConfig(at: 2, width: 4) }
    #expect(throws: PCIError.self) { try driver.function.readConfig(at: -4, width: 4) }
  }
}
