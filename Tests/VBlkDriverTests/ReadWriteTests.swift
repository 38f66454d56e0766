import Testing
import VBlkEmu

@testable import VBlkDriver

@Suite("Reads and writes on the inline emulator", .onEachRing)
struct ReadWriteTests {
  @Test("a written block reads back, synchronous")
  func writeThenRead() throws {
    let disk = try EmulatedDisk(EmulatedDisk.Configuration(.memory(byteCount: 1 << 20)))
    let device = try Device(disk.function)
    var queue = try device.makeQueue()
    var buffer = try device.memory.allocate(byteCount: 4096)
    buffer.withUnsafeMutableBytes { bytes in
      for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index &* 7) }
    }
    try queue.write(at: 8192, from: buffer)
    var other = try device.memory.allocate(byteCount: 4096)
    #expect(try queue.read(at: 8192, into: &other) == 4096)
    let equal = buffer.withUnsafeBytes { a in other.withUnsafeBytes { b in a.elementsEqual(b) } }
    #expect(equal)
  }
}
