import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Requests of ranges, and the wear report: rows 58-61 of the driver checklist (virtio 1.2,
/// 5.2.6.1).
@Suite("Driver rules: ranges and lifetime")
struct RangeRuleTests {
  /// A request of ranges.
  enum Kind: CaseIterable, Sendable {
    case discard, writeZeroes, secureErase

    var type: RequestType {
      switch self {
      case .discard: .discard
      case .writeZeroes: .writeZeroes
      case .secureErase: .secureErase
      }
    }
  }

  /// What a device allows, in sectors.
  struct Shape: Sendable {
    var sectors: UInt32
    var segments: UInt32
    var alignment: UInt32
  }

  private func rig(_ shape: Shape, _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in })
    throws -> Rig
  {
    try Rig(
      bytes: 4 << 20,
      disk: {
        $0.extra.insert(.secureErase)
        $0.maxDiscardSectors = shape.sectors
        $0.maxDiscardSegments = shape.segments
        $0.discardSectorAlignment = shape.alignment
        $0.maxWriteZeroesSectors = shape.sectors
        $0.maxWriteZeroesSegments = shape.segments
        $0.maxSecureEraseSectors = shape.sectors
        $0.maxSecureEraseSegments = shape.segments
        $0.secureEraseSectorAlignment = shape.alignment
        edit(&$0)
      }, options: { $0.depth = 64 })
  }

  private func submit(
    _ kind: Kind, _ queue: inout Queue, at offset: UInt64, _ count: UInt64
  ) -> PlainSubmission {
    switch kind {
    case .discard: queue.submitDiscard(at: offset, byteCount: count, tag: 3)
    case .writeZeroes: queue.submitWriteZeroes(at: offset, byteCount: count, tag: 3)
    case .secureErase: queue.submitSecureErase(at: offset, byteCount: count, tag: 3)
    }
  }

  @Test(
    "row 60: a range is cut to the device's limits, on its alignment, many pieces in a request",
    arguments: Kind.allCases,
    [
      Shape(sectors: 64, segments: 1, alignment: 8), Shape(sectors: 64, segments: 3, alignment: 8),
      Shape(sectors: 20, segments: 4, alignment: 8), Shape(sectors: 9, segments: 300, alignment: 1),
      Shape(sectors: 8, segments: 32, alignment: 16),
      Shape(sectors: 4096, segments: 7, alignment: 64),
    ])
  func cut(kind: Kind, shape: Shape) throws {
    for (first, count) in [(0, 4096), (64, 2048), (64, 64), (128, 3200)] as [(UInt64, UInt64)] {
      let rig = try rig(shape) { $0.mode = .stepped }
      var queue = try rig.device.makeQueue()
      let submission = submit(kind, &queue, at: first * 512, count * 512)
      #expect(submission == .queued)
      var next = first
      var requests = 0
      var ended: Ended?
      var from: UInt16 = 0
      for _ in 0..<2000 where ended == nil {
        queue.kick()
        let ring = RingView(queue, rig.function)
        for chain in ring.chains(from: from) {
          #expect(ring.header(chain) == RequestHeader(type: kind.type.rawValue, sector: 0))
          let bytes = chain.data.flatMap { ring.bytes($0) }
          #expect(bytes.count % 16 == 0 && bytes.count / 16 <= Int(shape.segments))
          for start in stride(from: 0, to: bytes.count, by: 16) {
            let range = bytes[start..<start + 16].withUnsafeBytes {
              $0.loadUnaligned(as: RangeSegment.self)
            }
            #expect(range.sector == next && range.flags == 0)
            #expect(range.sectorCount > 0 && range.sectorCount <= shape.sectors)
            next += UInt64(range.sectorCount)
            let isAligned = next % UInt64(kind == .writeZeroes ? 1 : shape.alignment) == 0
            #expect(isAligned || next == first + count || shape.sectors < shape.alignment)
          }
          requests += 1
          from &+= 1
        }
        rig.disk.serve(queue: 0)
        ended = queue.take(3)
      }
      #expect(next == first + count, "all of it, once, in order")
      #expect(ended?.result == IOResult(byteCount: Int(count * 512), code: nil))
      #expect(rig.disk.counters(queue: 0).failedRequests == 0)
      let atRest = queue.isAtRest
      #expect(atRest)
      let whole = Int(count) / Int(shape.sectors) / Int(min(shape.segments, 256)) + 1
      if shape.sectors % shape.alignment == 0 { #expect(requests <= whole + 1) }
    }
  }

  @Test("row 60: without a bounce block a list has three ranges; nothing waits for one")
  func withoutBounceBlock() throws {
    let shape = Shape(sectors: 8, segments: 32, alignment: 8)
    let rig = try rig(shape) { $0.mode = .stepped }
    var queue = try rig.device.makeQueue()
    while let block = queue.memory.takeBounceBlock() { _ = block }
    #expect(submit(.discard, &queue, at: 0, 4096 * 9) == .queued)
    queue.kick()
    let ring = RingView(queue, rig.function)
    #expect(ring.chains(from: 0).map(\.dataBytes) == [48, 48, 48])
  }

  @Test("row 60: what a secure erase erases reads as zeroes, and nothing else does", .onEachRing)
  func erases() throws {
    let shape = Shape(sectors: 16, segments: 4, alignment: 16)
    let rig = try rig(shape)
    var queue = try rig.device.makeQueue()
    let all = try rig.buffer(1 << 16, fill: 0xAB)
    _ = try queue.write(at: 0, from: all)
    try queue.secureErase(at: 8192, byteCount: 24576)
    var back = try rig.buffer(1 << 16)
    _ = try queue.read(at: 0, into: &back)
    let bytes = back.contents
    #expect(bytes[8192..<32768].allSatisfy { $0 == 0 })
    #expect(bytes[..<8192].allSatisfy { $0 == 0xAB } && bytes[32768...].allSatisfy { $0 == 0xAB })
  }

  @Test(
    "row 60: a secure erase of parts of units, or that isn't offered or limited, is refused unsent")
  func eraseRefused() throws {
    let rig = try rig(Shape(sectors: 16, segments: 4, alignment: 16))
    var queue = try rig.device.makeQueue()
    for (offset, count) in [(512, 8192), (0, 4096), (8192, 8704)] as [(UInt64, UInt64)] {
      #expect(submit(.secureErase, &queue, at: offset, count) == .refused(.invalidArgument))
    }
    #expect(queue.error(for: .invalidArgument).cause.contains("8192-byte"))
    let whole = submit(.secureErase, &queue, at: 0, 4 << 20)
    #expect(whole == .queued)
    for shape in [
      Shape(sectors: 16, segments: 0, alignment: 16), Shape(sectors: 16, segments: 4, alignment: 0),
    ] {
      let limited = try self.rig(shape)
      var queue = try limited.device.makeQueue()
      #expect(submit(.secureErase, &queue, at: 0, 8192) == .refused(.unsupported))
    }
    let without = try Rig()
    var other = try without.device.makeQueue()
    #expect(submit(.secureErase, &other, at: 0, 8192) == .refused(.unsupported))
    #expect(other.statistics.requests == 0)
    let readOnly = try self.rig(Shape(sectors: 16, segments: 4, alignment: 16)) {
      $0.readOnly = true
    }
    var closed = try readOnly.device.makeQueue()
    #expect(submit(.secureErase, &closed, at: 0, 8192) == .refused(.readOnly))
  }

  @Test(
    "row 67: an operation that the device doesn't know is not asked for again",
    arguments: Kind.allCases)
  func turnedOff(kind: Kind) throws {
    let rig = try rig(Shape(sectors: 16, segments: 4, alignment: 16)) {
      $0.faults = [FaultRule(.status(2), operations: [kind.type])]
    }
    var queue = try rig.device.makeQueue()
    #expect(submit(kind, &queue, at: 0, 8192) == .queued)
    let ended = queue.take()
    #expect(ended?.result.code == .unsupported)
    #expect(submit(kind, &queue, at: 0, 8192) == .refused(.unsupported))
  }

  // MARK: - Lifetime

  @Test("row 59: GET_LIFETIME asks for 6 bytes, and each value that means something is told")
  func lifetime() throws {
    for reserved in 0..<4 as Range<UInt16> {
      for estimate in 0..<12 as Range<UInt16> {
        let rig = try Rig(disk: {
          $0.extra.insert(.lifetime)
          $0.lifetime = [reserved, estimate, 11 - estimate]
        })
        var queue = try rig.device.makeQueue()
        let lifetime = try queue.lifetime()
        #expect(lifetime.reservedBlocks.rawValue == reserved)
        let wear: Lifetime.Wear =
          switch estimate {
          case 0: .undefined
          case 11: .exceeded
          default: .upTo(percent: Int(estimate) * 10)
          }
        #expect(lifetime.singleLevelCells == wear)
        #expect((lifetime.multiLevelCells == .exceeded) == (estimate == 0))
      }
    }
    let rig = try Rig(disk: {
      $0.extra.insert(.lifetime)
      $0.mode = .stepped
    })
    var queue = try rig.device.makeQueue()
    #expect(queue.submitFixed(.lifetime, at: 0, count: 6, tag: 1) == .queued)
    queue.kick()
    let ring = RingView(queue, rig.function)
    let chain = try #require(ring.chains(from: 0).first)
    #expect(ring.header(chain) == RequestHeader(type: 10, sector: 0))
    #expect(chain.data.map(\.length) == [6])
  }

  @Test(
    "row 67: a reserved lifetime is a named protocol violation, an absent one unsupported",
    arguments: [[4, 1, 1], [0, 12, 1], [0, 1, 12], [.max, .max, .max]] as [[UInt16]])
  func reservedLifetime(values: [UInt16]) throws {
    let rig = try Rig(disk: {
      $0.extra.insert(.lifetime)
      $0.lifetime = values
    })
    var queue = try rig.device.makeQueue()
    #expect { try queue.lifetime() } throws: {
      ($0 as? VBlkError)?.code == .protocolViolation && "\($0)".contains("virtio 1.2, 5.2.6")
    }
    let without = try Rig()
    var other = try without.device.makeQueue()
    #expect { try other.lifetime() } throws: { ($0 as? VBlkError)?.code == .unsupported }
  }
}
