import Testing
import VBlkEmu
import Virtio

/// SECURE_ERASE and GET_LIFETIME: rows 86, 90, 103, 104, 108 and 110 of the device checklist
/// (virtio 1.2, 5.2.6.2).
@Suite("secure erase and lifetime") struct EraseRequestTests {
  private func driver(
    _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.extra = [.secureErase, .lifetime]
    configuration.maxSecureEraseSectors = 64
    configuration.maxSecureEraseSegments = 4
    configuration.secureEraseSectorAlignment = 16
    edit(&configuration)
    return try MiniDriver(configuration)
  }

  private func erase(_ driver: MiniDriver, _ ranges: [RangeSegment]) -> UInt8? {
    let address = driver.address(driver.allocate(16 * max(ranges.count, 1)))
    for (index, range) in ranges.enumerated() {
      driver.store(driver.offset(address) + 16 * index, range)
    }
    return driver.perform(.secureErase, 0, [.out(address, 16 * ranges.count)])?.status
  }

  private func range(_ sector: UInt64, _ count: UInt32, flags: UInt32 = 0) -> RangeSegment {
    RangeSegment(sector: sector, sectorCount: count, flags: flags)
  }

  @Test("row 86: the limits stand in the configuration") func limits() throws {
    let driver = try driver()
    #expect(driver.config(BlockConfigLayout.maxSecureEraseSectors, 4) == 64)
    #expect(driver.config(BlockConfigLayout.maxSecureEraseSegments, 4) == 4)
    #expect(driver.config(BlockConfigLayout.secureEraseSectorAlignment, 4) == 16)
  }

  @Test("each range is erased, and nothing else") func erased() throws {
    let driver = try driver()
    driver.start()
    var all = RequestTests.pattern(64 * 512)
    #expect(driver.write(all, sector: 0) == 0)
    #expect(erase(driver, [range(16, 16), range(48, 8)]) == 0)
    for sector in Array(16..<32) + Array(48..<56) {
      for byte in 0..<512 { all[sector * 512 + byte] = 0 }
    }
    #expect(driver.read(sector: 0, 64 * 512) == all)
  }

  @Test("rows 103, 104: unknown flags, too many or too large ranges: nothing of any is done")
  func refused() throws {
    let driver = try driver()
    driver.start()
    let all = RequestTests.pattern(64 * 512)
    #expect(driver.write(all, sector: 0) == 0)
    for bit in 0..<32 as Range<UInt32> {
      #expect(erase(driver, [range(0, 16), range(16, 16, flags: 1 << bit)]) == 2)
    }
    #expect(erase(driver, [range(0, 16), range(2040, 16)]) == 1)
    #expect(erase(driver, [range(0, 16), range(.max, 2)]) == 1)
    #expect(erase(driver, [range(0, 65)]) == 1)
    #expect(erase(driver, (0..<5).map { range($0, 1) }) == 1)
    let address = driver.address(driver.allocate(32))
    #expect(driver.perform(.secureErase, 0, [.out(address, 17)])?.status == 1)
    #expect(driver.perform(.secureErase, 0, [.into(address, 16)])?.status == 1)
    #expect(driver.read(sector: 0, 64 * 512) == all)
  }

  @Test("row 90: a read-only disk erases nothing") func readOnly() throws {
    let driver = try driver { $0.readOnly = true }
    driver.start()
    #expect(erase(driver, [range(0, 16)]) == 1)
  }

  @Test("row 108: GET_LIFETIME is three little-endian numbers") func lifetime() throws {
    let driver = try driver { $0.lifetime = [3, 11, 0x0102] }
    driver.start()
    let area = driver.address(driver.allocate(8))
    driver.fill(area, Array(repeating: 9, count: 8))
    let done = driver.perform(.getLifetime, 0, [.into(area, 6)])
    #expect(done?.status == 0 && done?.length == 7)
    #expect(driver.bytes(area, 8) == [3, 0, 11, 0, 2, 1, 9, 9])
    #expect(driver.perform(.getLifetime, 0, [.into(area, 5)])?.status == 1)
    #expect(driver.perform(.getLifetime, 0, [.out(area, 6)])?.status == 1)
  }

  @Test("row 110: without the features both are UNSUPP") func notNegotiated() throws {
    let driver = try driver()
    driver.start(without: [.secureErase, .lifetime])
    #expect(erase(driver, [range(0, 16)]) == 2)
    let area = driver.address(driver.allocate(8))
    #expect(driver.perform(.getLifetime, 0, [.into(area, 6)])?.status == 2)
  }
}
