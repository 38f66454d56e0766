import Testing
import VBlkEmu
import Virtio

/// Rows 93-96 and 102-110 of the device checklist: framing and block semantics.
@Suite("requests") struct RequestTests {
  static func pattern(_ count: Int, _ seed: UInt8 = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) ^ seed }
  }
  let driver: MiniDriver

  init() throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.serial = "twenty-byte-serial-x"
    driver = try MiniDriver(configuration)
    driver.start(size: 128)
  }

  /// A data area of whole sectors, filled.
  func data(_ bytes: [UInt8]) -> UInt64 {
    let address = driver.address(driver.allocate(bytes.count, 512))
    driver.fill(address, bytes)
    return address
  }
  func data(_ count: Int) -> UInt64 { data(Array(repeating: 0, count: count)) }

  /// Ranges as a discard or write-zeroes has them.
  func ranges(_ all: [RangeSegment]) -> Piece {
    let address = driver.address(driver.allocate(16 * max(all.count, 1)))
    for (index, range) in all.enumerated() {
      let offset = driver.offset(address) + 16 * index
      driver.store(offset, range.sector)
      driver.store(offset + 8, range.sectorCount)
      driver.store(offset + 12, range.flags)
    }
    return .out(address, 16 * all.count)
  }

  @Test("a write is read back, direct and indirect", arguments: [false, true])
  func roundTrip(indirect: Bool) {
    let bytes = RequestTests.pattern(4096)
    let address = data(bytes)
    let write = driver.perform(.write, 8, [.out(address, 4096)], indirect: indirect)
    #expect(write?.status == 0)
    #expect(write?.length == 1)
    driver.fill(address, Array(repeating: 0, count: 4096))
    let read = driver.perform(.read, 8, [.into(address, 4096)], indirect: indirect)
    #expect(read?.status == 0)
    #expect(read?.length == 4097)
    #expect(driver.bytes(address, 4096) == bytes)
    #expect(driver.disk.violations.isEmpty)
  }

  @Test(
    "row 93, hostile driver 19: header, data and status in any framing",
    arguments: [[16], [5, 11], [1, 15], Array(repeating: 1, count: 16), [0, 16, 0]])
  func headerFraming(parts: [Int]) {
    let bytes = RequestTests.pattern(1024, 9)
    #expect(driver.write(bytes, sector: 4) == 0)
    for indirect in [false, true] {
      for split in [[1024], [512, 512], [1, 1022, 1], [1023, 1], [1024, 0]] {
        let request = driver.parts(RequestType.read.rawValue, 4)
        var pieces: [Piece] = []
        var at = request.header
        for part in parts {
          pieces.append(.out(at, part))
          at += UInt64(part)
        }
        let target = data(1024)
        at = target
        for part in split {
          pieces.append(.into(at, part))
          at += UInt64(part)
        }
        pieces.append(.into(request.status, 1))
        let done = driver.perform(pieces, status: request.status, indirect: indirect)
        #expect(done?.status == 0 && done?.length == 1025, "\(parts) \(split) \(indirect)")
        #expect(driver.bytes(target, 1024) == bytes)
      }
    }
    #expect(driver.disk.violations.isEmpty)
  }

  @Test("row 93: header and data merged on a write, data and status merged on a read")
  func merged() {
    let block = driver.allocate(16 + 512 + 1)
    driver.store(block, UInt32(1))
    driver.store(block + 8, UInt64(3))
    let bytes = RequestTests.pattern(512, 3)
    driver.fill(driver.address(block + 16), bytes)
    let status = driver.address(block + 528)
    let write = driver.perform(
      [.out(driver.address(block), 528), .into(status, 1)], status: status)
    #expect(write?.status == 0)
    let request = driver.parts(0, 3)
    let area = driver.address(driver.allocate(513))
    let read = driver.perform(
      [.out(request.header, 16), .into(area, 513)], status: area + 512)
    #expect(read?.status == 0 && read?.length == 513)
    #expect(driver.bytes(area, 512) == bytes)
  }

  @Test("row 94: what is device-readable is not written") func readableUntouched() {
    let bytes = RequestTests.pattern(512, 5)
    let address = data(bytes)
    let request = driver.request(.write, 1, [.out(address, 512)])
    let head = driver.chain(request.pieces)
    let table = driver.rings[0].descriptors
    let before = driver.bytes(driver.address(table), 16 * 128)
    let header = driver.bytes(request.pieces[0].address, 16)
    driver.submit(head)
    #expect(driver.used() != nil)
    #expect(driver.bytes(driver.address(table), 16 * 128) == before)
    #expect(driver.bytes(request.pieces[0].address, 16) == header)
    #expect(driver.bytes(address, 512) == bytes)
  }

  @Test(
    "row 95, hostile driver 15: direct descriptors, then one INDIRECT; its WRITE flag means nothing"
  )
  func mixedIndirect() {
    let bytes = RequestTests.pattern(512, 7)
    #expect(driver.write(bytes, sector: 2) == 0)
    for flags: UInt16 in [4, 6] {
      let request = driver.parts(0, 2)
      let target = data(512)
      let table = driver.allocate(32)
      driver.writeDescriptor(at: table, target, 512, 3, 1)
      driver.writeDescriptor(at: table + 16, request.status, 1, 2, 0)
      let slot = driver.rings[0].freeDescriptor
      let ring = driver.rings[0].descriptors + 16 * slot
      driver.writeDescriptor(at: ring, request.header, 16, 1, UInt16(slot + 1))
      driver.writeDescriptor(at: ring + 16, driver.address(table), 32, flags, 0)
      driver.rings[0].freeDescriptor += 2
      driver.submit(UInt16(slot))
      #expect(driver.used()?.length == 513)
      #expect(driver.bytes(target, 512) == bytes)
    }
  }

  @Test("row 96: the used length never says more than was written") func usedLength() {
    let target = data(512)
    #expect(driver.perform(.read, 0, [.into(target, 512)])?.length == 513)
    #expect(driver.perform(.write, 0, [.out(target, 512)])?.length == 1)
    #expect(driver.perform(.flush)?.length == 1)
    let failed = driver.perform(.read, 1 << 40, [.into(target, 512)])
    #expect(failed?.status == 1 && failed?.length == 0)
    #expect(driver.perform(.write, 1 << 40, [.out(target, 512)])?.length == 1)
  }

  @Test("row 102, hostile driver 20: a long status descriptor gets its last byte only")
  func longStatus() {
    let status = driver.address(driver.allocate(4))
    driver.fill(status, [9, 9, 9, 9])
    let flush = driver.parts(4, 0)
    let done = driver.perform(
      [.out(flush.header, 16), .into(status, 4)], status: status + 3)
    #expect(done?.status == 0)
    #expect(driver.bytes(status, 4) == [9, 9, 9, 0])
    #expect(done?.length == 0)
  }

  @Test("row 103, hostile driver 32: unknown types are UNSUPP and touch nothing")
  func unknownTypes() {
    let types: [UInt32] = [
      2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 26, 0x8000_0000, 0x8000_0001, .max,
    ]
    for type in types {
      let target = data(RequestTests.pattern(512))
      let request = driver.parts(type, 0)
      let done = driver.perform(
        [.out(request.header, 16), .into(target, 512), .into(request.status, 1)],
        status: request.status)
      #expect(done?.status == 2, "type \(type)")
      #expect(driver.bytes(target, 512) == RequestTests.pattern(512))
    }
  }

  @Test("row 103: unknown flags, and unmap on a discard, are UNSUPP") func rangeFlags() {
    #expect(driver.write(RequestTests.pattern(512), sector: 0) == 0)
    let good = RangeSegment(sector: 0, sectorCount: 1, flags: 0)
    for (type, flags): (RequestType, UInt32) in [
      (.discard, 1), (.discard, 2), (.writeZeroes, 2), (.writeZeroes, 0x8000_0001),
    ] {
      let bad = RangeSegment(sector: 0, sectorCount: 1, flags: flags)
      #expect(driver.perform(type, 0, [ranges([good, bad])])?.status == 2)
    }
    #expect(driver.read(sector: 0, 512) == RequestTests.pattern(512))
  }

  @Test("row 104, hostile driver 23: range check without overflow") func rangeCheck() {
    let capacity: UInt64 = 2048
    let target = data(4096)
    for (sector, count): (UInt64, Int) in [
      (capacity, 512), (capacity - 1, 1024), (capacity + 1, 512), (.max, 512), (.max - 6, 4096),
      (1 << 55, 512), (1 << 63, 512), ((1 << 55) - 1, 4096),
    ] {
      driver.fill(target, Array(repeating: 0xA5, count: 4096))
      #expect(driver.perform(.read, sector, [.into(target, count)])?.status == 1)
      #expect(driver.bytes(target, 4096) == Array(repeating: 0xA5, count: 4096))
      #expect(driver.perform(.write, sector, [.out(target, count)])?.status == 1)
    }
    #expect(driver.perform(.read, capacity - 1, [.into(target, 512)])?.status == 0)
    #expect(driver.read(sector: capacity - 8, 4096) == Array(repeating: 0, count: 4096))
  }

  @Test("row 104, hostile driver 30: every range is checked before any is done") func rangesFirst()
  {
    #expect(driver.write(RequestTests.pattern(1024), sector: 0) == 0)
    let good = RangeSegment(sector: 0, sectorCount: 2, flags: 0)
    for bad in [
      RangeSegment(sector: 2048, sectorCount: 1, flags: 0),
      RangeSegment(sector: 2047, sectorCount: 2, flags: 0),
      RangeSegment(sector: .max, sectorCount: .max, flags: 0),
      RangeSegment(sector: 1 << 55, sectorCount: 1, flags: 0),
      RangeSegment(sector: 0, sectorCount: .max, flags: 0),
    ] {
      for type: RequestType in [.discard, .writeZeroes] {
        #expect(driver.perform(type, 0, [ranges([good, bad])])?.status == 1)
      }
    }
    #expect(driver.read(sector: 0, 1024) == RequestTests.pattern(1024))
  }

  @Test("row 105: write zeroes reads zeroes, with unmap or without", arguments: [0 as UInt32, 1])
  func writeZeroes(flags: UInt32) {
    let all = RequestTests.pattern(32 * 512)
    #expect(driver.write(all, sector: 64) == 0)
    let done = driver.perform(
      .writeZeroes, 0,
      [
        ranges([
          RangeSegment(sector: 65, sectorCount: 20, flags: flags),
          RangeSegment(sector: 90, sectorCount: 1, flags: flags),
          RangeSegment(sector: 64, sectorCount: 0, flags: flags),
        ])
      ])
    #expect(done?.status == 0 && done?.length == 1)
    var wanted = all
    for sector in Array(1..<21) + [26] {
      for byte in 0..<512 { wanted[sector * 512 + byte] = 0 }
    }
    #expect(driver.read(sector: 64, 32 * 512) == wanted)
  }

  @Test("row 105: a discard is accepted and hurts nothing else") func discard() {
    let all = RequestTests.pattern(32 * 512)
    #expect(driver.write(all, sector: 0) == 0)
    let range = RangeSegment(sector: 8, sectorCount: 16, flags: 0)
    #expect(driver.perform(.discard, 0, [ranges([range])])?.status == 0)
    #expect(driver.read(sector: 0, 8 * 512) == Array(all[..<(8 * 512)]))
    #expect(driver.read(sector: 24, 8 * 512) == Array(all[(24 * 512)...]))
  }

  @Test("row 107: a flush makes the contents durable") func flush() {
    #expect(driver.perform(.flush)?.status == 0)
    #expect(driver.disk.counters(queue: 0).flushes == 1)
    #expect(driver.disk.counters(queue: 0).requests == 1)
  }

  @Test("row 108: GET_ID is 20 bytes, NUL-padded, maybe unterminated") func getID() throws {
    let target = data(20)
    let done = driver.perform(.getID, 0, [.into(target, 20)])
    #expect(done?.status == 0 && done?.length == 21)
    #expect(driver.bytes(target, 20) == Array("twenty-byte-serial-x".utf8))
    #expect(driver.perform(.getID, 0, [.into(target, 19)])?.status == 1)
    var configuration = EmulatedDisk.Configuration(.null(byteCount: 512))
    configuration.serial = "x"
    let other = try MiniDriver(configuration)
    other.start()
    let area = other.address(other.allocate(32))
    other.fill(area, Array(repeating: 9, count: 32))
    #expect(other.perform(.getID, 0, [.into(area, 7), .into(area + 7, 13)])?.status == 0)
    #expect(other.bytes(area, 21) == [0x78] + Array(repeating: 0, count: 19) + [9])
  }

  @Test("row 109: a new capacity is told, and rules from then on") func capacity() throws {
    #expect(driver.read(0x1000, 1) & 2 == 0)
    try driver.disk.setCapacity(sectors: 4096)
    #expect(driver.read(0x1000, 1) & 2 == 2)
    #expect(driver.config(0, 4) == 4096)
    #expect(driver.write(RequestTests.pattern(512), sector: 4095) == 0)
    try driver.disk.setCapacity(sectors: 8)
    #expect(driver.write(RequestTests.pattern(512), sector: 4095) == 1)
    #expect(driver.read(sector: 7, 512) == Array(repeating: 0, count: 512))
    #expect(driver.disk.capacitySectors == 8)
  }

  @Test("row 110 and hostile driver 34: what was not negotiated is UNSUPP") func notNegotiated() {
    driver.rings = []
    driver.start(without: [.flush, .discard, .writeZeroes, .configWriteCache])
    let range = ranges([RangeSegment(sector: 0, sectorCount: 1, flags: 0)])
    #expect(driver.perform(.flush)?.status == 2)
    #expect(driver.perform(.discard, 0, [range])?.status == 2)
    #expect(driver.perform(.writeZeroes, 0, [range])?.status == 2)
  }

  @Test("null contents answer and move nothing") func null() throws {
    let driver = try MiniDriver(.init(.null(byteCount: 1 << 40)))
    driver.start()
    let target = driver.address(driver.allocate(4096, 4096))
    driver.fill(target, RequestTests.pattern(4096))
    #expect(driver.perform(.read, 1 << 30, [.into(target, 4096)])?.length == 4097)
    #expect(driver.bytes(target, 4096) == RequestTests.pattern(4096))
    #expect(driver.perform(.write, 0, [.out(target, 4096)])?.status == 0)
    #expect(driver.disk.counters(queue: 0).bytes == 8192)
  }

  @Test("the trace names each data segment") func trace() {
    let bytes = RequestTests.pattern(4096)
    #expect(driver.write(bytes, sector: 0) == 0)
    driver.disk.setTracing(true)
    let areas = (0..<8).map { _ in data(512) }
    let done = driver.perform(.read, 0, areas.map { .into($0, 512) }, indirect: true)
    #expect(done?.status == 0)
    #expect(driver.disk.trace.map(\.deviceAddress) == areas)
    #expect(driver.disk.trace.allSatisfy { $0.byteCount == 512 && $0.direction == .deviceWrites })
    #expect(Set(driver.disk.trace.map(\.request)).count == 1)
    #expect(areas.flatMap { driver.bytes($0, 512) } == bytes)
    driver.disk.setTracing(false)
    #expect(driver.perform(.read, 0, [.into(areas[0], 512)])?.status == 0)
    #expect(driver.disk.trace.count == 8)
  }
}
