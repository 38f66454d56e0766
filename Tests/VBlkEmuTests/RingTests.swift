import Testing
import VBlkEmu
import Virtio

/// Rows 96-98 of the device checklist: notifications, order of publication, wrapping.
@Suite("split rings") struct RingTests {
  let driver: MiniDriver

  init() throws {
    driver = try MiniDriver(.init(.null(byteCount: 1 << 20)))
  }

  var counters: QueueCounters { driver.disk.counters(queue: 0) }

  @Test("row 97: without EVENT_IDX flags decide, used_event means nothing") func flags() {
    driver.start(without: .eventIndex, size: 8)
    driver.setUsedEvent(0x1234)
    #expect(driver.perform(.flush)?.status == 0)
    #expect(counters.notifications == 1)
    driver.store(driver.rings[0].available, UInt16(1))
    #expect(driver.perform(.flush)?.status == 0)
    #expect(counters.notifications == 1)
    #expect(counters.suppressedNotifications == 1)
    #expect(driver.load(driver.rings[0].used, UInt16.self) == 0)
  }

  @Test("row 97: with EVENT_IDX used_event decides, flags mean nothing") func event() {
    driver.start(size: 8)
    driver.store(driver.rings[0].available, UInt16(1))
    driver.setUsedEvent(2)
    var sent: [UInt64] = []
    for _ in 0..<5 {
      #expect(driver.perform(.flush)?.status == 0)
      sent.append(counters.notifications)
    }
    #expect(sent == [0, 0, 1, 1, 1])
    #expect(driver.load(driver.rings[0].used, UInt16.self) == 0)
  }

  @Test("row 97: a batch that crosses used_event is one notification") func batch() {
    driver.start(size: 16)
    driver.setUsedEvent(1)
    for _ in 0..<4 { driver.push(driver.chain(driver.request(.flush, 0, []).pieces)) }
    driver.publish()
    driver.ring()
    #expect(driver.usedIndex() == 4)
    #expect(counters.notifications == 1)
    #expect(counters.suppressedNotifications == 0)
  }

  @Test("row 98: spurious kicks, and a kick wanted for the next entry") func kicks() {
    driver.start(size: 8)
    for count: UInt16 in 1...5 {
      #expect(driver.perform(.flush)?.status == 0)
      driver.ring()
      #expect(driver.availableEvent() == count)
    }
    #expect(driver.usedIndex() == 5)
    #expect(counters.kicks == 10)
    #expect(counters.requests == 5)
  }

  @Test("row 98: entries published without a kick are taken with the next one") func late() {
    driver.start(size: 8)
    driver.push(driver.chain(driver.request(.flush, 0, []).pieces))
    driver.publish()
    #expect(driver.usedIndex() == 0)
    driver.submit(driver.chain(driver.request(.flush, 0, []).pieces))
    #expect(driver.usedIndex() == 2)
  }

  @Test("rings of 1, 2, 4 … 32,768 entries work", arguments: (0...15).map { 1 << $0 })
  func sizes(size: Int) throws {
    var configuration = EmulatedDisk.Configuration(.null(byteCount: 1 << 20))
    configuration.queueSize = 32768
    let driver = try MiniDriver(configuration)
    driver.start(size: size)
    let request = driver.request(.flush, 0, [])
    let head = driver.table(request.pieces)
    for _ in 0..<(2 * min(size, 100) + 3) {
      driver.submit(head)
      #expect(driver.used()?.id == UInt32(head))
    }
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("indexes go round twice", arguments: [false, true]) func wraps(indirect: Bool) {
    driver.start(size: 32)
    driver.setUsedEvent(0x8000)
    let target = driver.address(driver.allocate(512))
    let heads = (0..<8).map { _ in
      let pieces = driver.request(.read, 3, [.into(target, 512)]).pieces
      return indirect ? driver.table(pieces) : driver.chain(pieces)
    }
    var bad = 0
    for _ in 0..<(2 * 65_536 / 8 + 3) {
      for head in heads { driver.push(head) }
      driver.publish()
      driver.ring()
      for head in heads {
        let entry = driver.used()
        if entry?.id != UInt32(head) || entry?.length != 513 { bad += 1 }
      }
    }
    #expect(bad == 0)
    #expect(counters.requests == UInt64(2 * 65_536 + 24))
    #expect(counters.bytes == counters.requests * 512)
    #expect(counters.notifications == 2)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("a full ring is served whole") func full() {
    driver.start(size: 64)
    let heads = (0..<64).map { _ in driver.table(driver.request(.flush, 0, []).pieces) }
    for _ in 0..<3 {
      for head in heads { driver.push(head) }
      driver.publish()
      driver.ring()
      #expect(heads.map { _ in driver.used()?.id } == heads.map { UInt32($0) })
    }
  }

  @Test("queues are independent") func queues() throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.queues = 64
    let driver = try MiniDriver(configuration)
    driver.start(queues: 64, size: 4)
    for queue in 0..<64 {
      #expect(driver.perform(.flush, queue: queue)?.status == 0)
    }
    driver.submit(99, queue: 7)
    #expect(driver.disk.violations.map(\.queue) == [7])
    #expect(driver.perform(.flush, queue: 8)?.status == 0)
    #expect(driver.disk.counters(queue: 63).requests == 1)
  }

  @Test("a queue that was broken publishes what it had completed") func completedBefore() {
    driver.start(size: 8)
    driver.push(driver.chain(driver.request(.flush, 0, []).pieces))
    driver.push(200)
    driver.publish()
    driver.ring()
    #expect(driver.used() != nil)
    #expect(driver.status.contains(.needsReset))
  }
}

/// The emulated IOMMU as the pool sees it.
@Suite("the emulated IOMMU") struct TranslationTests {
  @Test("what may be mapped, and the reasons why not") func refusals() throws {
    let disk = try EmulatedDisk(.init(.null(byteCount: 512)))
    let mapper = disk.function.dma
    #expect(
      mapper.addressing
        == .translated(ranges: [0x1_0000_0000...0xFF_FFFF_FFFF], pageByteCount: 4096))
    let memory = MiniDriver.map(1 << 16)
    let base: UInt64 = 0x1_0000_0000
    try mapper.map(memory, byteCount: 1 << 16, deviceAddress: base)
    for (count, address, code): (Int, UInt64, DMAError.Code) in [
      (0, base, .invalidArgument), (100, base, .invalidArgument),
      (4096, base + 1, .invalidArgument), (4096, 0, .mapRefused),
      (4096, 0x100_0000_0000, .mapRefused), (4096, .max - 4095, .mapRefused),
      (8192, 0xFF_FFFF_F000, .mapRefused), (4096, base, .mapRefused),
      (4096, base + 0xF000, .mapRefused),
    ] {
      let error = #expect(throws: DMAError.self) {
        try mapper.map(memory, byteCount: count, deviceAddress: address)
      }
      #expect(error?.code == code)
    }
    #expect(throws: DMAError.self) {
      try mapper.unmap(deviceAddress: base, byteCount: 4096)
    }
    try mapper.unmap(deviceAddress: base, byteCount: 1 << 16)
    #expect(throws: DMAError.self) {
      try mapper.unmap(deviceAddress: base, byteCount: 1 << 16)
    }
  }

  @Test("single pages side by side in one 2 MiB page, and a request across them") func pages()
    throws
  {
    let driver = try MiniDriver(.init(.memory(byteCount: 1 << 20)))
    driver.start(size: 16)
    let pages = 16
    let memory = MiniDriver.map(2 * pages * 4096)
    let base: UInt64 = 0x40_0000_0000 - 8 * 4096
    // Every second page of the memory, in reverse: nothing is contiguous.
    for page in 0..<pages {
      try driver.function.dma.map(
        memory + 2 * (pages - 1 - page) * 4096, byteCount: 4096,
        deviceAddress: base + UInt64(page * 4096))
    }
    let bytes = RequestTests.pattern(pages * 4096)
    for (index, byte) in bytes.enumerated() {
      let page = index / 4096
      memory.storeBytes(
        of: byte, toByteOffset: 2 * (pages - 1 - page) * 4096 + index % 4096, as: UInt8.self)
    }
    #expect(driver.perform(.write, 0, [.out(base, pages * 4096)])?.status == 0)
    #expect(driver.read(sector: 0, pages * 4096) == bytes)
    try driver.function.dma.unmap(deviceAddress: base + 8 * 4096, byteCount: 4096)
    #expect(driver.perform(.write, 0, [.out(base, pages * 4096)])?.status == 1)
    #expect(driver.disk.dmaFaults.map(\.deviceAddress) == [base + 8 * 4096])
    #expect(driver.perform(.write, 0, [.out(base, 8 * 4096)])?.status == 0)
    #expect(driver.perform(.write, 0, [.out(base + 9 * 4096, 7 * 4096)])?.status == 0)
  }

  @Test("an access after unmap is a fault, cached or not") func afterUnmap() throws {
    let driver = try MiniDriver(.init(.memory(byteCount: 1 << 20)))
    driver.start(size: 16)
    let memory = MiniDriver.map(4096)
    let base: UInt64 = 0x20_0000_0000
    try driver.function.dma.map(memory, byteCount: 4096, deviceAddress: base)
    #expect(driver.perform(.read, 0, [.into(base, 4096)])?.status == 0)
    try driver.function.dma.unmap(deviceAddress: base, byteCount: 4096)
    #expect(driver.perform(.read, 0, [.into(base, 4096)])?.status == 1)
    let fault = driver.disk.dmaFaults.first
    #expect(fault?.deviceAddress == base && fault?.byteCount == 4096)
    #expect(fault?.direction == .deviceWrites && fault?.queue == 0)
    #expect(driver.disk.dmaFaults.count == 1)
  }

  @Test("a long run over many 2 MiB pages, mapped and unmapped again") func longRun() throws {
    let driver = try MiniDriver(.init(.memory(byteCount: 64 << 20)))
    driver.start(size: 16)
    let count = 9 << 20
    let memory = MiniDriver.map(count)
    for base: UInt64 in [0x7F_FFE0_1000, 0x1_0000_0000, 0xFF_FF00_0000] {
      try driver.function.dma.map(memory, byteCount: count, deviceAddress: base)
      memory.storeBytes(of: 0x77, toByteOffset: count - 1, as: UInt8.self)
      #expect(driver.perform(.write, 0, [.out(base, count)])?.status == 0)
      #expect(driver.perform(.write, 0, [.out(base + UInt64(count) - 256, 512)])?.status == 1)
      try driver.function.dma.unmap(deviceAddress: base, byteCount: count)
    }
    #expect(driver.read(sector: UInt64(count / 512) - 1, 512)?.last == 0x77)
  }
}
