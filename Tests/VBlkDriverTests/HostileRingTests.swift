import Synchronization
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A rig whose device is played by the test while `isClosed`: doorbells don't reach the emulator,
/// so that the used ring is the test's. Open, the emulator serves inline.
final class Gate: Sendable {
  let isClosed = Atomic<Bool>(true)

  static func rig(
    disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws -> (rig: Rig, gate: Gate) {
    let gate = Gate()
    var script = RecordingFunction.Script()
    script.store = { register, value in
      register.isDoorbell && gate.isClosed.load(ordering: .relaxed) ? nil : value
    }
    return (try Rig(script: script, disk: change, options: edit), gate)
  }

  func open() { isClosed.store(false, ordering: .relaxed) }
}

/// Devices that break the rules of the used ring: rows 1-8 of the hostile-device table
/// (facts/virtio.md, 4.2) and T25-T34 of facts/dio.md.
///
/// Each breaks the queue with its own reason; what was reaped before is delivered, what was in
/// flight ends once with `protocolViolation`, the device is reset and works again.
@Suite("Hostile devices: used ring")
struct HostileRingTests {
  /// A thing that no device may do, with four reads of 4 KiB (tags 0-3) published, of which 0 and 1
  /// have ended.
  struct Blow: CustomTestStringConvertible, Sendable {
    let name: String
    let reason: VBlkDriver.Violation.Reason
    /// The value that the violation must show; nil where it depends on the heads.
    var value: UInt64?
    let strike: @Sendable (RingView, [Chain]) -> Void

    var testDescription: String { name }
  }

  static let ids: [Blow] =
    [
      (UInt32(128), "row 1, T29: the ring's size"), (.max, "row 1, T29: 2^32 - 1"),
      (1 << 31, "row 1: 2^31"),
    ].map { id, name in
      Blow(name: name, reason: .usedIDOutOfRange, value: UInt64(id)) { ring, _ in
        ring.pushUsed(id, 4097)
      }
    } + [
      Blow(name: "row 1: a head with higher bits set", reason: .usedIDOutOfRange) { ring, chains in
        ring.writeStatus(chains[2], 0)
        ring.pushUsed(UInt32(chains[2].head) | 0x1_0000, 4097)
      },
      Blow(name: "row 2, T27: never submitted", reason: .usedIDNotInFlight, value: 126) { ring, _ in
        ring.pushUsed(126, 4097)
      },
      Blow(name: "row 2: ended before", reason: .usedIDNotInFlight) { ring, chains in
        ring.pushUsed(UInt32(chains[0].head), 4097)
      },
      Blow(name: "row 2, T25: twice in one batch", reason: .usedIDNotInFlight) { ring, chains in
        ring.complete(chains[2])
        ring.pushUsed(UInt32(chains[2].head), 4097)
      },
    ]

  static let indexes: [Blow] = ([1, 2, 126, 128, 0x7FFF, 0x8000, 0xFFFD] as [UInt16]).map { step in
    let name = "rows 3 and 4, T30: the index moves by \(step) beyond what was published"
    return Blow(name: name, reason: .usedIndexJumped, value: UInt64(4 &+ step)) { ring, _ in
      ring.usedIndex = 4 &+ step
    }
  }

  static let lengths: [Blow] = ([4098, 8192, 0x8000_0000, .max] as [UInt32]).map { length in
    Blow(
      name: "row 5, T34: a used length of \(length)", reason: .usedLengthTooLarge,
      value: UInt64(length)
    ) { ring, chains in
      ring.writeStatus(chains[2], 0)
      ring.pushUsed(UInt32(chains[2].head), length)
    }
  }

  static let statuses: [Blow] = [
    (UInt32(4097), "row 6, T32: used before the status is there"),
    (0, "row 6, T34: used with length 0 and no status"), (1, "row 6: length 1 and no status"),
  ].map { length, name in
    Blow(name: name, reason: .statusNotWritten) { ring, chains in
      ring.pushUsed(UInt32(chains[2].head), length)
    }
  }

  @Test(
    "rows 1-6: the queue breaks with its reason, each operation ends once, the device works again",
    arguments: [ids, indexes, lengths, statuses].flatMap(\.self), [true, false])
  func blows(blow: Blow, indirect: Bool) throws {
    let (rig, gate) = try Gate.rig(
      disk: {
        $0.queueSize = 128
        if !indirect { $0.withheld = .indirectDescriptors }
      }, options: { $0.depth = 128 })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    for tag in 0..<4 as Range<UInt64> {
      let queued = try queue.queueRead(rig, at: tag * 4096, tag: tag)
      #expect(queued)
    }
    queue.kick()
    let chains = ring.chains(from: 0)
    #expect(chains.count == 4)
    ring.complete(chains[0])
    ring.complete(chains[1])
    let before = queue.takeAll(2)
    #expect(before == [Ended(tag: 0, bytes: 4096), Ended(tag: 1, bytes: 4096)])
    rig.function.clear()
    blow.strike(ring, chains)
    let after = queue.takeAll(3, 5000)
    let survivor = blow.name.contains("twice") ? [Ended(tag: 2, bytes: 4096)] : []
    let broken = (survivor.isEmpty ? [2, 3] : [3]).map {
      Ended(tag: UInt64($0), code: .protocolViolation)
    }
    #expect(after.sorted { $0.tag < $1.tag } == survivor + broken)

    let violation = try #require(queue.state.lastViolation)
    #expect(violation.reason == blow.reason)
    if let value = blow.value { #expect(violation.value == value) }
    let error = queue.error(for: .protocolViolation)
    #expect(error.cause.contains(blow.reason.rawValue))
    #expect(error.cause.contains("\(violation.value)"))
    #expect(queue.statistics.violations == 1)
    #expect(rig.function.events.stores(.status) == [0, 0, 1, 3, 0xB, 0xF], "reset and restarted")
    let atRest = queue.isAtRest
    #expect(atRest)
    gate.open()
    let works = try queue.works(rig)
    #expect(works)
    #expect(queue.statistics.violations == 1)
    #expect(rig.disk.violations.isEmpty)
  }

  @Test("row 2, T28: a descriptor in the middle of a chain is no head", arguments: [1, 2, 4, 5])
  func notAHead(offset: UInt32) throws {
    let (rig, gate) = try Gate.rig(disk: { $0.withheld = .indirectDescriptors })
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    // A write of four segments takes two triples: the second is lent, and no head either.
    var list = SegmentList(segmentCapacity: 4)
    for _ in 0..<4 { list.append(try rig.buffer(512)) }
    guard case .queued = queue.submitRead(at: 0, into: list, tag: 6) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    let chain = ring.chain(ring.availEntry(0))
    ring.writeStatus(chain, 0)
    ring.pushUsed(UInt32(chain.head) + offset, 2049)
    let ended = queue.take()
    #expect(ended?.tag == 6 && ended?.result.code == .protocolViolation)
    #expect(queue.state.lastViolation?.reason == .usedIDNotInFlight)
    let extra = queue.take(2000)
    #expect(extra == nil)
    let atRest = queue.isAtRest
    #expect(atRest)
    gate.open()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("rows 1-5: in one batch, what stands before the breach is delivered, what follows is not")
  func sameBatch() throws {
    for blow in Self.ids + Self.lengths + Self.statuses {
      let (rig, _) = try Gate.rig(disk: { $0.queueSize = 128 })
      var queue = try rig.device.makeQueue()
      let ring = RingView(queue, rig.function)
      for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let chains = ring.chains(from: 0)
      ring.complete(chains[0])
      ring.complete(chains[1])
      blow.strike(ring, chains)
      if ring.usedIndex < 4 { ring.complete(chains[3]) }
      let ended = queue.takeAll(5, 5000)
      #expect(ended.count == 4, "\(blow.name): \(ended)")
      #expect(ended.prefix(2) == [Ended(tag: 0, bytes: 4096), Ended(tag: 1, bytes: 4096)])
      #expect(Set(ended.map(\.tag)).count == 4, "\(blow.name): each ended once")
      #expect(ended.last?.result.code == .protocolViolation)
      #expect(queue.state.lastViolation?.reason == blow.reason, "\(blow.name)")
      let atRest = queue.isAtRest
      #expect(atRest, "\(blow.name)")
    }
  }

  @Test("row 2, T26: a stale id never ends the operation that has its slot now")
  func staleID() throws {
    let (rig, gate) = try Gate.rig()
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    let first = ring.chain(ring.availEntry(0))
    ring.complete(first)
    let ended = queue.take()
    #expect(ended == Ended(tag: 1, bytes: 4096))
    _ = try queue.queueRead(rig, tag: 2)
    queue.kick()
    #expect(ring.availEntry(1) == first.head, "the warm slot is used again")
    ring.pushUsed(UInt32(first.head), 4097)
    let second = queue.take()
    #expect(second == Ended(tag: 2, code: .protocolViolation))
    #expect(queue.state.lastViolation?.reason == .statusNotWritten)
    gate.open()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 2: a head that was submitted but not shown yet ends nothing twice")
  func notShown() throws {
    let (rig, gate) = try Gate.rig()
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    _ = try queue.queueRead(rig, tag: 2)
    let hidden = ring.chain(ring.availEntry(1))
    ring.pushUsed(UInt32(hidden.head), 4097)
    let ended = queue.takeAll(3, 5000)
    #expect(ended.map(\.tag).sorted() == [1, 2])
    #expect(ended.allSatisfy { $0.result.code == .protocolViolation })
    let atRest = queue.isAtRest
    #expect(atRest)
    gate.open()
    let works = try queue.works(rig)
    #expect(works)
  }

  // MARK: - Rows 7 and 8

  @Test("row 8, T33: OK with a short length is a failure of a read, and of no write")
  func shortLengths() throws {
    for length in [0, 1, 2049, 4096] as [UInt32] {
      let (rig, _) = try Gate.rig()
      var queue = try rig.device.makeQueue()
      let ring = RingView(queue, rig.function)
      _ = try queue.queueRead(rig, tag: 1)
      guard case .queued = queue.submitWrite(at: 0, from: try rig.buffer(), tag: 2) else {
        Issue.record("not queued")
        return
      }
      queue.kick()
      for chain in ring.chains(from: 0) {
        ring.writeStatus(chain, 0)
        ring.pushUsed(UInt32(chain.head), ring.header(chain).type == 0 ? length : min(length, 1))
      }
      let ended = queue.takeAll(3, 5000)
      #expect(ended == [Ended(tag: 1, code: .shortTransfer), Ended(tag: 2, bytes: 4096)])
      #expect(queue.statistics.violations == 0)
      #expect(queue.statistics.bytes == 4096)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("row 7: an error with any length is that error", arguments: [0, 1, 4096, 4097] as [UInt32])
  func errorLengths(length: UInt32) throws {
    let (rig, _) = try Gate.rig()
    var queue = try rig.device.makeQueue()
    let ring = RingView(queue, rig.function)
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    let chain = ring.chain(ring.availEntry(0))
    ring.writeStatus(chain, 1)
    ring.pushUsed(UInt32(chain.head), length)
    let ended = queue.take()
    #expect(ended == Ended(tag: 1, code: .ioError))
    #expect(queue.statistics.violations == 0)
  }
}
