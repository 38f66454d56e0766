import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Zoned devices: rows 30, 58, 65, 66 and 67 of the driver checklist (virtio 1.3, 5.2.5.1 and
/// 5.2.6.1), on each ring format, and what a lying device may say.
@Suite("Driver rules: zones", .onEachRing)
struct ZoneRuleTests {
  /// Zones of 64 KiB, 48 KiB of them writable; the first two conventional.
  static let zone: UInt64 = 65_536
  private static let layout: EmulatedDisk.Zones = {
    var zones = EmulatedDisk.Zones(.hostManaged)
    zones.zoneSectors = 128
    zones.capacitySectors = 96
    zones.conventionalZones = 2
    zones.maxAppendSectors = 64
    return zones
  }()

  private func rig(
    script: RecordingFunction.Script = RecordingFunction.Script(),
    _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options: (inout DeviceOptions) -> Void = { _ in }
  ) throws -> Rig {
    try Rig(
      bytes: Self.zone * 16, script: script,
      disk: {
        $0.zones = Self.layout
        edit(&$0)
      }, options: options)
  }

  private func code(_ body: () throws -> Void) -> VBlkError.Code? {
    do { try body() } catch { return (error as? VBlkError)?.code }
    return nil
  }

  // MARK: - Negotiation

  @Test("row 66: DISCARD is not accepted of a host-managed device, though offered")
  func noDiscard() throws {
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      register == .deviceFeature && count & 1 == 0 ? value | 1 << 13 : value
    }
    let rig = try rig(script: script)
    #expect(rig.device.info.offered.isSuperset(of: [.zoned, .discard]))
    #expect(rig.device.info.accepted.contains(.zoned))
    #expect(!rig.device.info.accepted.contains(.discard))
    let aware = try self.rig(script: script) { $0.zones?.model = .hostAware }
    #expect(aware.device.info.accepted.isSuperset(of: [.zoned, .discard]))
  }

  @Test("row 30: a host-managed device without ZONED is refused, with FAILED, not FEATURES_OK")
  func declined() throws {
    let (error, function) = try Rig.refusal(
      disk: { $0.zones = Self.layout }, options: { $0.declinedFeatures = .zoned })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.description.contains("virtio 1.3, 5.2.5.1") == true)
    let stores = function.events.stores(.status)
    #expect(stores.allSatisfy { $0 & 8 == 0 } && stores.last.map { $0 & 128 != 0 } == true)
    for model in [ZonedModel.hostAware, .none] {
      let rig = try self.rig(
        { $0.zones?.model = model }, options: { $0.declinedFeatures = .zoned })
      #expect(rig.device.info.limits.zoned == nil)
      var queue = try rig.device.makeQueue()
      let works = try queue.works(rig)
      #expect(works, "an ordinary device")
    }
  }

  @Test("row 30: each model is handled, and the fields are those of the configuration")
  func models() throws {
    let managed = try rig {
      $0.zones?.maxOpenZones = 3
      $0.zones?.maxActiveZones = 5
    }
    let zoned = try #require(managed.device.info.limits.zoned)
    #expect(zoned.model == .hostManaged && zoned.zoneByteCount == Self.zone)
    #expect(zoned.maxOpenZones == 3 && zoned.maxActiveZones == 5)
    #expect(zoned.maxAppendBytes == 32_768 && zoned.writeGranularity == 512)
    let aware = try rig { $0.zones?.model = .hostAware }
    #expect(aware.device.info.limits.zoned?.model == .hostAware)
    #expect(aware.device.info.limits.zoned?.maxOpenZones == nil)
    let none = try rig { $0.zones?.model = .none }
    #expect(none.device.info.accepted.contains(.zoned))
    #expect(none.device.info.limits.zoned == nil)
  }

  @Test("row 30: fields that can't be are a refusal with the clause")
  func badFields() throws {
    let fields: [(offset: Int, bytes: [UInt8])] = [
      (72, [0, 0, 0, 0]), (88, [0, 0, 0, 0]), (88, [1, 0, 0, 0]), (88, [0, 6, 0, 0]),
      (92, [3]), (92, [255]),
    ]
    for (offset, bytes) in fields {
      let (error, _) = try Rig.refusal(disk: {
        $0.zones = Self.layout
        for (index, byte) in bytes.enumerated() { $0.configOverrides[offset + index] = byte }
      })
      #expect(error?.code == .deviceUnavailable, "\(offset) \(bytes)")
      #expect(error?.description.contains("5.2.5") == true, "\(error?.description ?? "")")
    }
    let (small, _) = try Rig.refusal(disk: {
      $0.zones = Self.layout
      $0.zones?.writeGranularity = 4096
      $0.configOverrides = [84: 1, 85: 0]
    })
    #expect(small?.description.contains("max_append_sectors 1") == true)
    // A device that is another one after FEATURES_OK.
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      register == .config(BlockConfigLayout.zonedModel, width: 1) && count > 0 ? 2 : value
    }
    let (turned, _) = try Rig.refusal(script: script, disk: { $0.zones = Self.layout })
    #expect(turned?.code == .deviceUnavailable)
  }

  // MARK: - Reports

  @Test("row 65: a report of all zones, of some, in several requests")
  func reports() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    let all = try queue.reportZones()
    #expect(all.count == 16)
    #expect(all.map(\.start) == (0..<16).map { $0 * Self.zone })
    #expect(all[0].kind == .conventional && all[0].writePointer == nil)
    #expect(all[0].capacity == Self.zone && all[2].capacity == 49_152)
    #expect(all[2...].allSatisfy { $0.kind == .sequentialWriteRequired && $0.state == .empty })
    let some = try queue.reportZones(from: 3 * Self.zone + 5000, max: 2)
    #expect(some == Array(all[3...4]))
    let none = try queue.reportZones(max: 0)
    #expect(none.isEmpty)
    let many = try Rig(
      bytes: 4096 * 3000,
      disk: {
        $0.zones = .hostManaged
        $0.zones?.zoneSectors = 8
      })
    var other = try many.device.makeQueue()
    let zones = try other.reportZones(from: 8192)
    #expect(zones.count == 2998 && zones.last?.start == 2999 * 4096)
    let requests = other.statistics.requests
    #expect(requests == 3)
    let atRest = other.isAtRest
    #expect(atRest)
  }

  @Test("row 65: a report that lies is a protocol violation with the clause")
  func lyingReport() throws {
    let rig = try rig { $0.faults = [FaultRule(.lose, operations: [.zoneReport], count: 1)] }
    var queue = try rig.device.makeQueue()
    #expect {
      _ = try queue.reportZones()
    } throws: {
      ($0 as? VBlkError)?.code == .protocolViolation && "\($0)".contains("virtio 1.3, 5.2.6")
    }
    let after = try queue.reportZones()
    #expect(after.count == 16)
  }

  @Test("row 65: a descriptor of a report is held against what the device said of its zones")
  func descriptors() throws {
    let zoned = try #require(try rig().device.info.limits.zoned)
    func zone(_ bytes: [UInt8]) -> Zone? {
      Zone(bytes[...], start: 2 * Self.zone, zoned, end: Self.zone * 16)
    }
    let good = Self.honest(start: 2 * 128, capacity: 96, pointer: 256)
    #expect(zone(good)?.writePointer == 2 * Self.zone)
    // Type, state, capacity, start, a pointer of an empty zone, a state without a write pointer.
    for (offset, value) in [
      (24, 9), (25, 7), (1, 0xFF), (8, 9), (16, 1), (17, 0), (25, 0), (24, 1),
    ] as [(Int, UInt8)] {
      var bytes = good
      bytes[offset] = value
      #expect(zone(bytes) == nil, "\(offset) \(value)")
    }
    var open = good
    open[25] = 2
    for (pointer, isGood) in [(255, false), (256, true), (352, true), (353, false)] as [(Int, Bool)]
    {
      open[16] = UInt8(pointer & 0xFF)
      open[17] = UInt8(pointer >> 8)
      #expect((zone(open) != nil) == isGood, "\(pointer)")
    }
  }

  private static func honest(start: UInt64, capacity: UInt64, pointer: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64)
    for (offset, value) in [(0, capacity), (8, start), (16, pointer)] {
      for index in 0..<8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }
    bytes[24] = 2
    bytes[25] = 1
    return bytes
  }

  // MARK: - Append

  @Test("row 65: an append says where it went, synchronously and not, in one piece and in several")
  func appends() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    let first = try queue.append(to: 2 * Self.zone, from: try rig.buffer(4096, fill: 1))
    #expect(first == 2 * Self.zone && queue.lastAppendOffset == first)
    guard
      case .queued = queue.submitAppend(
        to: 2 * Self.zone, from: try rig.buffer(8192, fill: 2), tag: 5)
    else {
      Issue.record("refused")
      return
    }
    queue.kick()
    let ended = queue.take()
    #expect(ended == Ended(tag: 5, bytes: 8192))
    #expect(queue.lastAppendOffset == 2 * Self.zone + 4096)
    let durable = try queue.append(
      to: 2 * Self.zone, from: try rig.buffer(512, fill: 3), durable: true)
    #expect(durable == 2 * Self.zone + 12_288)
    var back = try rig.buffer(16_384)
    _ = try queue.read(at: 2 * Self.zone, into: &back)
    let wanted: [(UInt8, Int)] = [(1, 4096), (2, 8192), (3, 512), (0, 3584)]
    #expect(back.contents == wanted.flatMap { Array(repeating: $0.0, count: $0.1) })
    let works = try queue.reportZones(from: 2 * Self.zone, max: 1)
    #expect(works.first?.writePointer == 2 * Self.zone + 12_800)
    let atRest = queue.isAtRest
    #expect(atRest)
    #expect(rig.disk.violations.isEmpty)
  }

  @Test("rows 64, 65: an append of scattered memory is one request, or too large")
  func scattered() throws {
    for (segMax, fits) in [(8, true), (4, true), (3, false)] as [(UInt32, Bool)] {
      let rig = try rig(
        {
          $0.segMax = segMax
          $0.queueSize = 64
        },
        options: {
          $0.layout = .scattered(runByteCount: 4096, seed: 5)
          $0.pages = .small
        })
      var queue = try rig.device.makeQueue()
      let buffer = try rig.buffer(16_384, fill: 9)
      #expect(!buffer.reference.isOneRun)
      switch queue.submitAppend(to: 2 * Self.zone, from: buffer, tag: 1) {
      case .queued: #expect(fits)
      case .refused(let code, _):
        #expect(!fits && code == .tooLarge)
        #expect(queue.error(for: code).description.contains("virtio 1.3, 5.2.6.1"))
      case .completed: Issue.record("completed")
      }
      queue.kick()
      let ended = fits ? queue.take() : nil
      #expect(ended?.result.byteCount == (fits ? 16_384 : nil))
      #expect(queue.statistics.requests == (fits ? 1 : 0))
      var plain = try rig.buffer(4096)
      _ = try queue.read(at: 0, into: &plain)
      let atRest = queue.isAtRest
      #expect(atRest, "the slot is as it was")
    }
  }

  @Test("row 65, nothing sent: not a zone's start, too large, not whole granules, beyond the end")
  func refusedUnsent() throws {
    let rig = try rig { $0.zones?.writeGranularity = 4096 }
    var queue = try rig.device.makeQueue()
    func append(_ zone: UInt64, _ count: Int) throws -> VBlkError.Code? {
      switch queue.submitAppend(to: zone, from: try rig.buffer(count), tag: 1) {
      case .refused(let code, _): code
      default: nil
      }
    }
    #expect(try append(2 * Self.zone + 4096, 4096) == .zoneInvalidCommand)
    #expect(try append(2 * Self.zone, 36_864) == .tooLarge)
    #expect(queue.error(for: .tooLarge).description.contains("32768 bytes"))
    #expect(try append(2 * Self.zone, 512) == .invalidArgument)
    #expect(try append(16 * Self.zone, 4096) == .invalidArgument)
    #expect(try append(.max, 4096) == .invalidArgument)
    for action in ZoneAction.allCases {
      let off = queue.submitZone(action, at: 4096, tag: 1)
      #expect(off == .refused(.zoneInvalidCommand))
      let beyond = queue.submitZone(action, at: 16 * Self.zone, tag: 1)
      #expect(beyond == .refused(.invalidArgument))
    }
    #expect(queue.error(for: .zoneInvalidCommand).description.contains("virtio 1.3, 5.2.6.2"))
    #expect(
      code { try queue.write(at: 2 * Self.zone, from: try rig.buffer(512)) } == .invalidArgument)
    #expect(code { try queue.write(at: 100, from: try rig.buffer(4096)) } == .invalidArgument)
    #expect(queue.statistics.requests == 0)
    let plain = try Rig()
    var other = try plain.device.makeQueue()
    #expect(other.submitZone(.open, at: 0, tag: 1) == .refused(.unsupported))
    #expect(other.submitResetAllZones(tag: 1) == .refused(.unsupported))
    #expect(code { _ = try other.reportZones() } == .unsupported)
    let without = try self.rig { $0.zones?.maxAppendSectors = 0 }
    var third = try without.device.makeQueue()
    #expect(
      code { try third.append(to: 2 * Self.zone, from: try without.buffer(4096)) } == .unsupported)
    let readOnly = try self.rig { $0.readOnly = true }
    var fourth = try readOnly.device.makeQueue()
    #expect(fourth.submitZone(.reset, at: 2 * Self.zone, tag: 1) == .refused(.readOnly))
  }

  @Test(
    "row 65: a returned sector that isn't in the zone breaks the queue, and the device works again")
  func wrongSector() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    rig.disk.misbehave(.appendSectorWrong)
    let seen = code { try queue.append(to: 2 * Self.zone, from: try rig.buffer(4096)) }
    #expect(seen == .protocolViolation)
    #expect(queue.state.lastViolation?.reason == .appendOutsideZone)
    rig.disk.misbehave([])
    let again = try queue.append(to: 3 * Self.zone, from: try rig.buffer(4096))
    #expect(again == 3 * Self.zone)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  // MARK: - Statuses

  @Test(
    "row 67: each status of a zone is its own error, with the clause",
    arguments: 3...7 as ClosedRange<UInt8>)
  func statuses(status: UInt8) throws {
    let wanted: VBlkError.Code =
      switch status {
      case 3: .zoneInvalidCommand
      case 4: .zoneUnalignedWritePointer
      case 5: .zoneOpenResource
      case 6: .zoneActiveResource
      default: .unknownStatus
      }
    let rig = try rig { $0.faults = [FaultRule(.status(status))] }
    var queue = try rig.device.makeQueue()
    for seen in [
      code { try queue.write(at: 2 * Self.zone, from: try rig.buffer()) },
      code { try queue.append(to: 2 * Self.zone, from: try rig.buffer()) },
      code { try queue.setZone(.open, at: 2 * Self.zone) }, code { try queue.resetAllZones() },
      code { _ = try queue.reportZones() },
    ] {
      #expect(seen == wanted)
    }
    #expect(queue.error(for: wanted).description.contains("virtio 1.3, 5.2.6"))
    #expect(queue.statistics.violations == 0)
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("row 65: zones open, close, finish and reset, and the limits are told")
  func management() throws {
    let rig = try rig {
      $0.zones?.maxOpenZones = 1
      $0.zones?.maxActiveZones = 2
    }
    var queue = try rig.device.makeQueue()
    func state(_ zone: Int) throws -> Zone.State? {
      try queue.reportZones(from: UInt64(zone) * Self.zone, max: 1).first?.state
    }
    try queue.setZone(.open, at: 2 * Self.zone)
    #expect(try state(2) == .explicitlyOpen)
    #expect(code { try queue.setZone(.open, at: 3 * Self.zone) } == .zoneOpenResource)
    _ = try queue.write(at: 2 * Self.zone, from: try rig.buffer())
    try queue.setZone(.close, at: 2 * Self.zone)
    #expect(try state(2) == .closed)
    _ = try queue.write(at: 3 * Self.zone, from: try rig.buffer())
    #expect(code { try queue.setZone(.open, at: 4 * Self.zone) } == .zoneActiveResource)
    try queue.setZone(.finish, at: 2 * Self.zone)
    #expect(try state(2) == .full)
    #expect(code { try queue.setZone(.open, at: 0) } == .zoneInvalidCommand)
    #expect(
      code { try queue.write(at: 3 * Self.zone, from: try rig.buffer()) }
        == .zoneUnalignedWritePointer)
    try queue.setZone(.reset, at: 2 * Self.zone)
    #expect(try state(2) == .empty)
    #expect(queue.submitResetAllZones(tag: 3) == .queued)
    queue.kick()
    let ended = queue.take()
    #expect(ended?.tag == 3 && ended?.result.code == nil)
    #expect(try state(3) == .empty)
    #expect(rig.disk.violations.isEmpty)
  }

  // MARK: - Data

  @Test("row 65: a write larger than requests goes in order, whatever the order of completions")
  func sequential() throws {
    for order in [CompletionOrder.inOrder, .reversed, .random(seed: 3)] {
      let rig = try rig {
        $0.completionOrder = order
        $0.zones?.capacitySectors = nil
        $0.segMax = 2
        $0.sizeMax = 4096
      }
      var queue = try rig.device.makeQueue()
      let count = 3 * Int(Self.zone) / 2
      var wanted = [UInt8](repeating: 0, count: count)
      for index in wanted.indices { wanted[index] = UInt8(truncatingIfNeeded: index / 512 &* 7) }
      let memory = wanted
      let written = try memory.withUnsafeBytes { try queue.write(at: 2 * Self.zone, from: $0) }
      #expect(written == count)
      let zones = try queue.reportZones(from: 2 * Self.zone, max: 2)
      #expect(zones[0].state == .full)
      #expect(zones[1].writePointer == 2 * Self.zone + UInt64(count))
      var back = try rig.buffer(count)
      let read = try queue.read(at: 2 * Self.zone, into: &back)
      #expect(read == count && back.contents == wanted, "a read over zones is cut at their ends")
      let source = try rig.buffer(65_536, fill: 4)
      guard case .queued = queue.submitWrite(at: 4 * Self.zone, from: source, tag: 8) else {
        Issue.record("refused")
        return
      }
      queue.kick()
      let ended = queue.take()
      #expect(ended == Ended(tag: 8, bytes: 65_536))
      #expect(rig.disk.counters(queue: 0).failedRequests == 0)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("row 65: a host-aware device is written anywhere, unaligned too, on the plain path")
  func hostAware() throws {
    let rig = try rig {
      $0.zones?.model = .hostAware
      $0.zones?.capacitySectors = nil
    }
    var queue = try rig.device.makeQueue()
    #expect(queue.maxWriteBytes > 0 && queue.maxReadBytes > 0)
    let works = try queue.works(rig)
    #expect(works)
    let bytes = [UInt8](repeating: 5, count: 1000)
    _ = try bytes.withUnsafeBytes { try queue.write(at: 3 * Self.zone - 500, from: $0) }
    let zones = try queue.reportZones(from: 2 * Self.zone, max: 2)
    #expect(zones.allSatisfy { $0.kind == .sequentialWritePreferred })
    #expect(zones[0].state == .full && zones[1].writePointer == 3 * Self.zone + 512)
  }

  @Test("row 19: a reset of the device ends appends once, and zones stay")
  func deviceReset() throws {
    let rig = try rig { $0.mode = .stepped }
    var queue = try rig.device.makeQueue()
    for tag in 0..<4 as Range<UInt64> {
      guard
        case .queued = queue.submitAppend(to: 2 * Self.zone, from: try rig.buffer(), tag: tag)
      else { continue }
    }
    queue.kick()
    rig.disk.serve(queue: 0, max: 2)
    let done = queue.takeAll(2)
    #expect(done.map(\.tag) == [0, 1])
    rig.device.reset()
    let ended = queue.takeAll(2, 2000)
    #expect(ended.map(\.result.code) == [.reset, .reset])
    let atRest = queue.isAtRest
    #expect(atRest)
  }
}
