import Glibc
import Testing
import VBlkEmu
import Virtio

/// Rows 93-110 of the device checklist: framing and block semantics.
@Suite("requests") struct RequestTests {
  static func pattern(_ count: Int, _ seed: UInt8 = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) ^ seed }
  }

  @Test("a write is read back, direct and indirect", arguments: [false, true])
  func roundTrip(indirect: Bool) throws {
    let driver = try MiniDriver(.init(.memory(byteCount: 1 << 20)))
    driver.start()
    let data = driver.address(driver.allocate(4096, 4096))
    let bytes = RequestTests.pattern(4096)
    driver.fill(data, bytes)
    let write = driver.perform(.write, 8, [.out(data, 4096)], indirect: indirect)
    #expect(write?.status == 0)
    #expect(write?.length == 1)
    driver.fill(data, Array(repeating: 0, count: 4096))
    let read = driver.perform(.read, 8, [.into(data, 4096)], indirect: indirect)
    #expect(read?.status == 0)
    #expect(read?.length == 4097)
    #expect(driver.bytes(data, 4096) == bytes)
    #expect(driver.disk.violations.isEmpty)
  }
}
