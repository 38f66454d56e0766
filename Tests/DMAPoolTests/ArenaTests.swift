import DMAPool
import Testing

@Suite struct ArenaTests {
  @Test("an attached arena hands out buffers that the device finds")
  func roundTrip() throws {
    let arena = try DMAArena(byteCount: 1 << 20)
    let device = MockMapper()
    try arena.attach(to: device)
    do {
      var buffer = try arena.allocate(byteCount: 4096)
      #expect(unsafe buffer.record.pointee.plainArena == arena.number)
      unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe bytes.storeBytes(of: 0x1234, as: UInt64.self)
      }
      let address = unsafe buffer.record.pointee.deviceAddress
      let base = unsafe UInt(bitPattern: buffer.record.pointee.base)
      #expect(device.translate(address) == base)
      #expect(arena.buffersOut == 1)
    }
    #expect(arena.buffersOut == 0)
    var pool = try BouncePool(count: 4, blockByteCount: 4096, from: arena)
    let block = unsafe pool.take()
    #expect(unsafe block != nil && pool.freeCount == 3)
    if let block = unsafe block { unsafe pool.give(block) }
    _ = consume pool
    try arena.detach(from: device)
    #expect(device.mappings.isEmpty)
    try arena.close()
  }
}
