import Testing

@testable import DMAPool

@Suite struct AttachTests {
  @Test("several devices find an arena at the same address, which is neither 0 nor virtual")
  func sameAddress() throws {
    let arena = try DMAArena(byteCount: 5 << 20, pages: .small)
    let devices = (0..<4).map { MockMapper("device \($0)") }
    for device in devices { try arena.attach(to: device) }
    let first = try #require(devices[0].mappings.first)
    for device in devices {
      #expect(device.mappings == [first])
      #expect(arena.isAttached(to: device))
    }
    #expect(first.byteCount == 5 << 20)
    #expect(first.deviceAddress != 0)
    #expect(first.deviceAddress % (2 << 20) == 0)
    #expect(first.deviceAddress != UInt64(first.memory))
  }

  @Test("a device address outlives all detaches")
  func addressStays() throws {
    let (arena, device) = try ArenaTests.attached()
    let before = device.mappings
    try arena.detach(from: device)
    #expect(device.mappings.isEmpty)
    #expect(!arena.isAttached(to: device))
    try arena.attach(to: device)
    #expect(device.mappings == before)
  }

  @Test("a second attach to one device is refused, and the first one stands")
  func twice() throws {
    let (arena, device) = try ArenaTests.attached()
    let before = device.mappings
    let error = #expect(throws: DMAError.self) { try arena.attach(to: device) }
    #expect(error?.code == .invalidArgument)
    #expect(device.mappings == before)
    #expect(device.mapCalls == 1)
  }

  @Test("detaching a device that is not attached, or no longer, is an error and unmaps nothing")
  func foreign() throws {
    let (arena, device) = try ArenaTests.attached()
    let stranger = MockMapper("stranger")
    let error = #expect(throws: DMAError.self) { try arena.detach(from: stranger) }
    #expect(error?.code == .notAttached)
    #expect(error?.cause.contains("stranger") == true)
    #expect(stranger.unmapCalls == 0)
    #expect(arena.isAttached(to: device))
    try arena.detach(from: device)
    #expect(throws: DMAError.self) { try arena.detach(from: device) }
    #expect(device.unmapCalls == 1)
  }

  @Test("while a buffer is out no device is detached")
  func inUse() throws {
    let (arena, device) = try ArenaTests.attached()
    do {
      let buffer = try arena.allocate(byteCount: 64)
      let error = #expect(throws: DMAError.self) { try arena.detach(from: device) }
      #expect(error?.code == .inUse)
      #expect(error?.cause.contains("1 of its buffers") == true)
      #expect(arena.isAttached(to: device))
      #expect(device.mappings.count == 1)
      #expect(buffer.capacity == 64)
    }
    try arena.detach(from: device)
  }

  @Test("a device whose ranges do not hold the address refuses by name; others keep theirs")
  func outOfRange() throws {
    let (arena, device) = try ArenaTests.attached()
    let narrow = MockMapper(
      "narrow", addressing: .translated(ranges: [0x1000...0x1FFFFF], pageByteCount: 4096))
    let error = #expect(throws: DMAError.self) { try arena.attach(to: narrow) }
    #expect(error?.code == .mapRefused)
    #expect(error?.cause.hasPrefix("narrow can't take") == true)
    #expect(error?.cause.contains("0x1000-0x1fffff") == true)
    #expect(narrow.mapCalls == 0)
    #expect(!arena.isAttached(to: narrow))
    #expect(arena.isAttached(to: device))
  }

  @Test("a first device without room for the arena refuses, and leaves the choice to the next")
  func noRoom() throws {
    let arena = try DMAArena(byteCount: 4 << 20, pages: .small)
    let narrow = MockMapper(
      "narrow", addressing: .translated(ranges: [0x20_0000...0x3F_FFFF], pageByteCount: 4096))
    let error = #expect(throws: DMAError.self) { try arena.attach(to: narrow) }
    #expect(error?.code == .mapRefused)
    #expect(error?.cause.hasPrefix("narrow has no 4194304 bytes") == true)
    let wide = MockMapper()
    try arena.attach(to: wide)
    #expect(arena.isAttached(to: wide))
  }

  @Test("a device that maps larger pages than the runs have refuses")
  func coarsePages() throws {
    let arena = try DMAArena(
      byteCount: 65536, pages: .small, layout: .scattered(runByteCount: 4096, seed: 1))
    let coarse = MockMapper(
      "coarse", addressing: .translated(ranges: [0...(1 << 40)], pageByteCount: 65536))
    let error = #expect(throws: DMAError.self) { try arena.attach(to: coarse) }
    #expect(error?.code == .mapRefused)
    #expect(error?.cause.contains("multiples of 65536") == true)
    #expect(coarse.mapCalls == 0)
  }

  @Test("a device that refuses leaves an unattached arena, which others may place elsewhere")
  func refusal() throws {
    let arena = try DMAArena(byteCount: 65536, pages: .small)
    let device = MockMapper()
    device.failMap(after: 0)
    let error = #expect(throws: DMAError.self) { try arena.attach(to: device) }
    #expect(error?.cause == "mock was told to refuse")
    #expect(device.mappings.isEmpty)
    #expect(!arena.isAttached(to: device))
    let unplaced = #expect(throws: DMAError.self) { _ = try arena.allocate(byteCount: 64) }
    #expect(unplaced?.code == .notAttached)
  }

  @Test("a scattered attach that fails at its n-th map unmaps the n before, for every n")
  func failureAtEachMap() throws {
    let runs = 16
    let arena = try DMAArena(
      byteCount: runs * 4096, pages: .small, layout: .scattered(runByteCount: 4096, seed: 3))
    let device = MockMapper()
    var failures = 0
    while true {
      device.failMap(after: failures)
      let before = device.mapCalls
      do throws(DMAError) {
        try arena.attach(to: device)
        break
      } catch {
        #expect(error.code == .mapRefused)
        #expect(device.mapCalls - before == failures + 1)
        #expect(device.mappings.isEmpty)
        #expect(!arena.isAttached(to: device))
      }
      failures += 1
    }
    #expect(failures == runs)
    #expect(device.mappings.count == runs)
    #expect(arena.isAttached(to: device))
  }

  @Test("a detach that fails half-way is finished by another one")
  func failedDetach() throws {
    let (arena, device) = try ArenaTests.attached(
      4 * 4096, layout: .scattered(runByteCount: 4096, seed: 3))
    device.failUnmaps(2..<3)
    #expect(throws: DMAError.self) { try arena.detach(from: device) }
    #expect(device.mappings.count == 2)
    #expect(!arena.isAttached(to: device))
    let again = #expect(throws: DMAError.self) { try arena.attach(to: device) }
    #expect(again?.code == .mapRefused)
    #expect(again?.cause.contains("partly mapped") == true)
    try arena.detach(from: device)
    #expect(device.mappings.isEmpty)
    try arena.attach(to: device)
    #expect(device.mappings.count == 4)
  }

  @Test("an attach whose unwinding fails too keeps its addresses until a detach works")
  func failedUnwinding() throws {
    let arena = try DMAArena(
      byteCount: 4 * 4096, pages: .small, layout: .scattered(runByteCount: 4096, seed: 3))
    let device = MockMapper()
    device.failMap(after: 2)
    device.failUnmaps(0..<2)
    #expect(throws: DMAError.self) { try arena.attach(to: device) }
    let left = device.mappings
    #expect(left.count == 2)
    #expect(throws: DMAError.self) { try arena.close() }
    #expect(device.mappings == left)
    try arena.detach(from: device)
    #expect(device.mappings.isEmpty)
    try arena.close()
  }

  @Test("a close that a device refuses leaves the arena open for another")
  func failedClose() throws {
    let (arena, device) = try ArenaTests.attached()
    let other = MockMapper("other")
    try arena.attach(to: other)
    device.failUnmaps(0..<1)
    let error = #expect(throws: DMAError.self) { try arena.close() }
    #expect(error?.cause == "mock was told not to unmap")
    #expect(arena.isAttached(to: device))
    #expect(!arena.isAttached(to: other))
    #expect(try arena.allocate(byteCount: 64).byteCount == 64)
    try arena.close()
    #expect(device.mappings.isEmpty)
  }

  @Test("memory that a device would not unmap is left to it when the arena dies")
  func quarantine() throws {
    let device = MockMapper()
    do {
      let arena = try DMAArena(byteCount: 8192, pages: .small)
      try arena.attach(to: device)
      device.failUnmaps(0..<1)
    }
    let left = try #require(device.mappings.first)
    let map = try ProcessMap(detailed: false)
    #expect(map.readWriteParts(of: left.memory..<left.memory + 8192).count == 1)
    let window = left.deviceAddress...left.deviceAddress + 8191
    #expect(
      DeviceAddressSpace.shared.take(
        byteCount: 8192, in: [window], alignment: 4096, avoiding: 0...0) == nil)
  }

  @Test("4 KiB pages are refused for a device without IOMMU, with the reason")
  func physicalSmall() throws {
    let arena = try DMAArena(byteCount: 8192, pages: .small)
    let device = MockMapper("bare", addressing: .physical)
    let error = #expect(throws: DMAError.self) { try arena.attach(to: device) }
    #expect(error?.code == .notPinnable)
    #expect(error?.cause.contains("not in huge pages") == true)
    #expect(device.mapCalls == 0)
    try arena.attach(to: MockMapper())
    let late = #expect(throws: DMAError.self) { try arena.attach(to: device) }
    #expect(late?.code == .mapRefused)
    #expect(late?.cause.hasPrefix("bare uses physical addresses") == true)
  }
}
