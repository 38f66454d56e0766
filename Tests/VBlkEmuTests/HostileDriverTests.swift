import Testing
import VBlkEmu
import Virtio

/// The hostile-driver table: each row that a split ring on PCI can show, with the reason that the
/// device names and what it does about it.
@Suite("hostile drivers") struct HostileDriverTests {
  let driver: MiniDriver

  init() throws {
    driver = try MiniDriver(.init(.memory(byteCount: 1 << 20)))
    driver.start(size: 16)
  }

  var last: Violation? { driver.disk.violations.last }

  /// The queue is broken for that reason, takes nothing more, and a reset brings it back.
  func expectBroken(_ reason: Violation.Reason, _ place: SourceLocation = #_sourceLocation) {
    #expect(last?.reason == reason, sourceLocation: place)
    #expect(last?.consequence == .queueBroken, sourceLocation: place)
    #expect(driver.status.contains(.needsReset), sourceLocation: place)
    let index = driver.usedIndex()
    driver.push(driver.chain(driver.request(.flush, 0, []).pieces))
    driver.publish()
    driver.ring()
    #expect(driver.usedIndex() == index, sourceLocation: place)
    driver.rings = []
    driver.start(size: 16)
    #expect(driver.perform(.flush)?.status == 0, sourceLocation: place)
  }

  /// The request failed or went back for that reason, and the queue goes on.
  func expectFailed(_ reason: Violation.Reason, _ place: SourceLocation = #_sourceLocation) {
    #expect(last?.reason == reason, sourceLocation: place)
    #expect(last?.consequence == .requestFailed, sourceLocation: place)
    #expect(driver.perform(.flush)?.status == 0, sourceLocation: place)
  }

  func raw(_ slot: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16) {
    driver.writeDescriptor(
      at: driver.rings[0].descriptors + 16 * slot, address, length, flags, next)
  }
  func rawTable(
    _ table: Int, _ index: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16
  ) {
    driver.writeDescriptor(at: table + 16 * index, address, length, flags, next)
  }

  @Test("rows 1, 2: avail.idx jumps or goes back", arguments: [17 as UInt16, 1000, 0x8000, 0xFFFF])
  func indexJump(by distance: UInt16) {
    driver.rings[0].availableIndex &+= distance
    driver.publish()
    driver.ring()
    expectBroken(.availableIndexJumped)
  }

  @Test("row 3: head out of range", arguments: [16 as UInt16, 0xFFFF]) func head(_ head: UInt16) {
    driver.submit(head)
    expectBroken(.headOutOfRange)
  }

  @Test("row 4: next out of range") func next() {
    raw(0, driver.parts(0, 0).header, 16, 1, 16)
    driver.submit(0)
    expectBroken(.nextOutOfRange)
    let table = driver.allocate(32)
    rawTable(table, 0, driver.parts(0, 0).header, 16, 1, 2)
    raw(0, driver.address(table), 32, 4, 0)
    driver.submit(0)
    expectBroken(.nextOutOfRange)
  }

  @Test("row 5: a loop ends", arguments: [false, true]) func loop(indirect: Bool) {
    let header = driver.parts(0, 0).header
    if indirect {
      let table = driver.allocate(32)
      rawTable(table, 0, header, 16, 1, 1)
      rawTable(table, 1, header, 16, 1, 0)
      raw(0, driver.address(table), 32, 4, 0)
    } else {
      raw(0, header, 16, 1, 1)
      raw(1, header, 16, 1, 0)
    }
    driver.submit(0)
    expectBroken(.descriptorLoop)
  }

  @Test("row 6 and device row 101: a table longer than the device takes") func tooLong() {
    raw(0, MiniDriver.base, 16 * 1025, 4, 0)
    driver.submit(0)
    expectBroken(.chainTooLong)
  }

  @Test("row 7: more than 2^32 bytes") func tooManyBytes() {
    let request = driver.parts(0, 0)
    let done = driver.perform(
      [
        .out(request.header, 16), .into(MiniDriver.base, Int(UInt32.max)),
        .into(MiniDriver.base, Int(UInt32.max)), .into(request.status, 1),
      ], status: request.status)
    #expect(done?.status == 1)
    expectFailed(.chainTooManyBytes)
  }

  static let unmappedAddresses: [UInt64] = [
    0, 0x1000, UInt64.max - 511, MiniDriver.base - 512,
    MiniDriver.base + UInt64(MiniDriver.memoryByteCount) - 256, 1 << 63,
  ]

  @Test(
    "row 8: data outside the mapped memory is a fault, not a crash", arguments: unmappedAddresses)
  func unmapped(address: UInt64) {
    for (type, piece): (RequestType, Piece) in [
      (.read, .into(address, 512)), (.write, .out(address, 512)),
    ] {
      #expect(driver.perform(type, 0, [piece])?.status == 1)
      expectFailed(.bufferUnmapped)
    }
    let directions = driver.disk.dmaFaults.map(\.direction)
    #expect(directions == [.deviceWrites, .deviceReads])
    #expect(driver.disk.dmaFaults.allSatisfy { $0.queue == 0 })
    #expect(driver.disk.counters(queue: 0).dmaFaults == 2)
  }

  @Test("row 8: header or status outside the mapped memory") func unmappedEnds() {
    let request = driver.parts(4, 0)
    #expect(
      driver.perform([.out(64, 16), .into(request.status, 1)], status: request.status)?.status == 1)
    expectFailed(.bufferUnmapped)
    #expect(
      driver.perform([.out(request.header, 16), .into(64, 1)], status: request.status)?.length == 0)
    expectFailed(.statusMissing)
  }

  @Test("row 9: empty descriptors are empty") func empty() {
    let target = driver.address(driver.allocate(512))
    let done = driver.perform(
      .read, 0, [.into(0, 0), .into(target, 512), .into(0, 0)])
    #expect(done?.status == 0 && done?.length == 513)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 10: INDIRECT that was not negotiated") func notNegotiated() {
    driver.rings = []
    driver.start(without: .indirectDescriptors, size: 16)
    let request = driver.request(.flush, 0, [])
    driver.submit(driver.table(request.pieces))
    expectBroken(.indirectNotNegotiated)
  }

  @Test("row 11: INDIRECT inside a table") func nested() {
    let table = driver.allocate(48)
    rawTable(table, 0, driver.address(table), 48, 4, 0)
    raw(0, driver.address(table), 48, 4, 0)
    driver.submit(0)
    expectBroken(.indirectNested)
  }

  @Test("row 12: INDIRECT with NEXT") func withNext() {
    raw(0, driver.address(driver.allocate(48)), 48, 5, 1)
    driver.submit(0)
    expectBroken(.indirectWithNext)
  }

  @Test("row 13: a table of 0 or odd bytes", arguments: [0 as UInt32, 15, 17, 47])
  func tableLength(length: UInt32) {
    raw(0, driver.address(driver.allocate(64)), length, 4, 0)
    driver.submit(0)
    expectBroken(.indirectLengthInvalid)
  }

  @Test("row 14: a table outside memory breaks, an unaligned one works") func tablePlace() {
    raw(0, 0x5000, 48, 4, 0)
    driver.submit(0)
    expectBroken(.indirectUnmapped)
    for shift in 1..<16 {
      let target = driver.address(driver.allocate(512))
      let request = driver.request(.read, 0, [.into(target, 512)])
      let head = driver.table(request.pieces, alignment: 16, shift: shift)
      driver.submit(head)
      #expect(driver.used()?.length == 513)
    }
  }

  @Test("row 16: readable after writable") func order() {
    let request = driver.parts(0, 0)
    let head = driver.chain([.into(request.status, 1), .out(request.header, 16)])
    driver.submit(head)
    expectBroken(.readableAfterWritable)
  }

  @Test("row 17: no header, or a short one, goes back with length 0", arguments: [0, 1, 15])
  func noHeader(byteCount: Int) {
    let request = driver.parts(0, 0)
    var pieces: [Piece] = [.into(request.status, 1)]
    if byteCount > 0 { pieces.insert(.out(request.header, byteCount), at: 0) }
    let done = driver.perform(pieces, status: request.status)
    #expect(done?.length == 0 && done?.status == 0xFF)
    expectFailed(.headerMissing)
  }

  @Test("row 18: no byte for the status goes back with length 0") func noStatus() {
    let request = driver.parts(0, 0)
    #expect(driver.perform([.out(request.header, 16)], status: request.status)?.length == 0)
    expectFailed(.statusMissing)
    let empty = driver.perform(
      [.out(request.header, 16), .into(request.status, 0)], status: request.status)
    #expect(empty?.length == 0)
    expectFailed(.statusMissing)
  }

  @Test("row 21: data of no whole sectors fails, none at all is fine") func oddData() {
    let target = driver.address(driver.allocate(1024))
    for count in [1, 511, 513, 1023] {
      #expect(driver.perform(.read, 0, [.into(target, count)])?.status == 1)
      #expect(driver.perform(.write, 0, [.out(target, count)])?.status == 1)
    }
    #expect(driver.perform(.read, 0)?.status == 0)
    #expect(driver.perform(.write, 0)?.status == 0)
  }

  @Test("row 22: data in the wrong direction fails") func direction() {
    let target = driver.address(driver.allocate(512))
    #expect(driver.perform(.read, 0, [.out(target, 512)])?.status == 1)
    #expect(driver.perform(.write, 0, [.into(target, 512)])?.status == 1)
    #expect(driver.perform(.getID, 0, [.out(target, 20)])?.status == 1)
    #expect(driver.perform(.discard, 0, [.into(target, 16)])?.status == 1)
  }

  @Test("row 25: a head made available twice") func twice() {
    let head = driver.chain(driver.request(.flush, 0, []).pieces)
    driver.push(head)
    driver.push(head)
    driver.publish()
    driver.ring()
    #expect(driver.used()?.id == UInt32(head))
    expectBroken(.headInFlight)
  }

  @Test("row 25: a head made available again while it is held") func whileHeld() {
    driver.disk.setFaults([FaultRule(.hold)])
    let head = driver.chain(driver.request(.flush, 0, []).pieces)
    driver.submit(head)
    driver.disk.setFaults([])
    driver.submit(head)
    expectBroken(.headInFlight)
  }

  @Test("row 29: buffers over the rings and over themselves do no harm") func overlapping() {
    let request = driver.parts(0, 0)
    let rings = driver.address(driver.rings[0].descriptors) & ~511
    let head = driver.chain(
      [.out(request.header, 16), .into(rings, 2048), .into(request.status, 1)])
    driver.submit(head)
    #expect(driver.usedIndex() <= 2)
    driver.rings = []
    driver.start(size: 16)
    #expect(driver.perform(.flush)?.status == 0)
  }

  @Test("row 30: too many ranges, or odd bytes of them") func ranges() {
    let area = driver.address(driver.allocate(16 * 64))
    for count in [16 * 33, 15, 17, 8] {
      #expect(driver.perform(.discard, 0, [.out(area, count)])?.status == 1)
      #expect(driver.perform(.writeZeroes, 0, [.out(area, count)])?.status == 1)
    }
    #expect(driver.perform(.discard, 0, [.out(area, 16 * 32)])?.status == 0)
  }
}
