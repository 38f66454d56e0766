import Testing
import Virtio

@Suite struct BlockLayoutTests {
  @Test("5.2.4 every field of the configuration stands where the specification puts it")
  func configuration() {
    typealias Layout = BlockConfigLayout
    let fields: [(Int, Int)] = [
      (Layout.capacity, 0), (Layout.sizeMax, 8), (Layout.segMax, 12), (Layout.cylinders, 16),
      (Layout.heads, 18), (Layout.sectors, 19), (Layout.blockSize, 20),
      (Layout.physicalBlockExponent, 24), (Layout.alignmentOffset, 25),
      (Layout.minimumIOSize, 26), (Layout.optimalIOSize, 28), (Layout.writeback, 32),
      (Layout.queueCount, 34), (Layout.maxDiscardSectors, 36), (Layout.maxDiscardSegments, 40),
      (Layout.discardSectorAlignment, 44), (Layout.maxWriteZeroesSectors, 48),
      (Layout.maxWriteZeroesSegments, 52), (Layout.writeZeroesMayUnmap, 56),
      (Layout.maxSecureEraseSectors, 60), (Layout.maxSecureEraseSegments, 64),
      (Layout.secureEraseSectorAlignment, 68), (Layout.zoneSectors, 72),
      (Layout.maxOpenZones, 76), (Layout.maxActiveZones, 80), (Layout.maxAppendSectors, 84),
      (Layout.writeGranularity, 88), (Layout.zonedModel, 92), (Layout.byteCount, 96),
    ]
    for (offset, expected) in fields { #expect(offset == expected) }
  }

  @Test(
    "5.2.4 a feature needs the configuration up to the end of its last field",
    arguments: [
      ([], 8), (.sizeMax, 12), (.segMax, 16), (.geometry, 20), (.blockSize, 24), (.topology, 32),
      (.configWriteCache, 33), (.multiQueue, 36), (.discard, 48), (.writeZeroes, 57),
      (.secureErase, 72), (.zoned, 93),
    ] as [(Features, Int)])
  func configurationSize(features: Features, byteCount: Int) {
    #expect(BlockConfigLayout.byteCount(for: features) == byteCount)
    let silent: Features = [
      .readOnly, .flush, .lifetime, .version1, .indirectDescriptors, .eventIndex, .ringPacked,
    ]
    #expect(BlockConfigLayout.byteCount(for: features.union(silent)) == byteCount)
    #expect(BlockConfigLayout.byteCount(for: features.union(.sizeMax)) == max(byteCount, 12))
  }

  @Test("5.2.4 of several features the one that reaches furthest decides")
  func furthest() {
    let ends: [(Features, Int)] = [
      (.sizeMax, 12), (.segMax, 16), (.geometry, 20), (.blockSize, 24), (.topology, 32),
      (.configWriteCache, 33), (.multiQueue, 36), (.discard, 48), (.writeZeroes, 57),
      (.secureErase, 72), (.zoned, 93),
    ]
    for bits in 0..<1 << ends.count {
      let chosen = ends.indices.filter { bits >> $0 & 1 == 1 }
      let features = chosen.reduce(into: Features()) { $0.formUnion(ends[$1].0) }
      let expected = chosen.map { ends[$0].1 }.max() ?? 8
      if BlockConfigLayout.byteCount(for: features) != expected {
        Issue.record("\(features.described): \(BlockConfigLayout.byteCount(for: features))")
      }
    }
  }

  @Test("5.2.6 a request's header is type, reserved, sector in 16 bytes")
  func header() {
    #expect(MemoryLayout<RequestHeader>.size == 16)
    #expect(MemoryLayout<RequestHeader>.offset(of: \.type) == 0)
    #expect(MemoryLayout<RequestHeader>.offset(of: \.reserved) == 4)
    #expect(MemoryLayout<RequestHeader>.offset(of: \.sector) == 8)
    #expect(RequestHeader.byteCount == 16)
    let header = RequestHeader(type: 1, sector: 0x0102_0304_0506_0708)
    let bytes = unsafe withUnsafeBytes(of: header) { unsafe Array($0) }
    #expect(bytes == [1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1])
  }

  @Test("5.2.6 a range is sector, count, flags in 16 bytes")
  func range() {
    #expect(MemoryLayout<RangeSegment>.size == 16)
    #expect(MemoryLayout<RangeSegment>.offset(of: \.sector) == 0)
    #expect(MemoryLayout<RangeSegment>.offset(of: \.sectorCount) == 8)
    #expect(MemoryLayout<RangeSegment>.offset(of: \.flags) == 12)
    #expect(RangeSegment.byteCount == 16)
    #expect(RangeSegment.unmap == 1)
  }

  @Test("5.2.6 request types")
  func types() {
    let expected: [(RequestType, UInt32)] = [
      (.read, 0), (.write, 1), (.flush, 4), (.getID, 8), (.getLifetime, 10), (.discard, 11),
      (.writeZeroes, 13), (.secureErase, 14), (.zoneAppend, 15), (.zoneReport, 16),
      (.zoneOpen, 18), (.zoneClose, 20), (.zoneFinish, 22), (.zoneReset, 24), (.zoneResetAll, 26),
    ]
    for (type, number) in expected { #expect(type.rawValue == number) }
    #expect(RequestType.allCases.count == expected.count)
  }

  @Test("5.2.6 status bytes, of which the poison is none")
  func statuses() {
    let expected: [(RequestStatus, UInt8)] = [
      (.ok, 0), (.ioError, 1), (.unsupported, 2), (.zoneInvalidCommand, 3),
      (.zoneUnalignedWritePointer, 4), (.zoneOpenResource, 5), (.zoneActiveResource, 6),
    ]
    for (status, number) in expected { #expect(status.rawValue == number) }
    #expect(RequestStatus.allCases.count == expected.count)
    #expect(RequestStatus.poison == 0xFF)
    #expect(RequestStatus(rawValue: RequestStatus.poison) == nil)
  }

  @Test("5.2.6 answers of fixed length, and the sector")
  func answers() {
    #expect(RequestAnswer.idByteCount == 20)
    #expect(RequestAnswer.lifetimeByteCount == 6)
    #expect(Sector.byteCount == 512)
    #expect(1 << Sector.shift == Sector.byteCount)
  }

  @Test("5.2.6 (1.3) zone reports")
  func zones() {
    #expect(ZoneReportLayout.headerByteCount == 64)
    #expect(ZoneReportLayout.descriptorByteCount == 64)
    #expect(ZoneReportLayout.capacity == 0)
    #expect(ZoneReportLayout.start == 8)
    #expect(ZoneReportLayout.writePointer == 16)
    #expect(ZoneReportLayout.type == 24)
    #expect(ZoneReportLayout.state == 25)
    #expect(ZoneType.allCases.map(\.rawValue) == [1, 2, 3])
    #expect(ZoneState.allCases.map(\.rawValue) == [0, 1, 2, 3, 4, 13, 14, 15])
    #expect(ZoneState.readOnly.rawValue == 13 && ZoneState.full.rawValue == 14)
    #expect(ZonedModel.allCases.map(\.rawValue) == [0, 1, 2])
  }
}
