import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do from reset to DRIVER_OK: rows 10-19 and 33-42 of the driver checklist
/// (virtio 1.2, 2.1, 3.1, 4.1.5). Rows are those of facts/virtio.md, 1a.
///
/// Rows 32 and 41 have suites of their own, ``SuspensionTests`` and ``QueueResetTests``.
@Suite("Driver rules: bring-up, reset and queue set-up")
struct BringUpRuleTests {
  // MARK: - Literal lists

  /// Reset to FEATURES_OK of an emulated disk with its default features.
  static let negotiation: [BusEvent] = [
    .store(.status, 0), .load(.status, 0),
    .load(.status, 0), .store(.status, 0x1),
    .load(.status, 0x1), .store(.status, 0x3),
    .store(.deviceFeatureSelect, 0), .load(.deviceFeature, 0x3000_7A44),
    .store(.deviceFeatureSelect, 1), .load(.deviceFeature, 0x3),
    .store(.driverFeatureSelect, 0), .store(.driverFeature, 0x3000_7A44),
    .store(.driverFeatureSelect, 1), .store(.driverFeature, 0x3),
    .load(.status, 0x3), .store(.status, 0xB), .load(.status, 0xB),
  ]

  /// The fields that those features make valid, of one generation.
  static let configuration: [BusEvent] = [
    .load(.generation, 0),
    .load(.config(0, width: 4), 2048), .load(.config(4, width: 4), 0),
    .load(.config(12, width: 4), 126), .load(.config(20, width: 4), 512),
    .load(.config(32, width: 1), 1), .load(.config(34, width: 2), 1),
    .load(.config(36, width: 4), 1 << 21), .load(.config(40, width: 4), 32),
    .load(.config(44, width: 4), 8),
    .load(.config(48, width: 4), 1 << 21), .load(.config(52, width: 4), 32),
    .load(.config(56, width: 1), 1),
    .load(.generation, 0),
  ]

  /// Size, addresses, vector read back, doorbell, and `queue_enable` last.
  static func queueSetUp(_ index: Int, size: UInt32, _ rings: RingAddresses) -> [BusEvent] {
    func halves(_ offset: UInt64, _ address: UInt64) -> [BusEvent] {
      let registers = Register.halves(offset)
      return [
        .store(registers.low, UInt32(truncatingIfNeeded: address)),
        .store(registers.high, UInt32(truncatingIfNeeded: address >> 32)),
      ]
    }
    return [
      .store(.queueSelect, UInt32(index)), .store(.queueSize, size), .load(.queueSize, size),
    ] + halves(0x20, rings.descriptors) + halves(0x28, rings.driver)
      + halves(0x30, rings.device) + [
        .store(.queueVector, 0xFFFF), .load(.queueVector, 0xFFFF),
        .load(.queueNotifyOffset, UInt32(index)), .store(.queueEnable, 1),
      ]
  }

  static let driverOK: [BusEvent] = [.load(.status, 0xB), .store(.status, 0xF)]

  @Test("row 10: reset, ACK, DRIVER, features, FEATURES_OK, read back, queues, DRIVER_OK")
  func bringUp() throws {
    let rig = try Rig()
    let events = rig.function.events
    var queue = try rig.device.makeQueue()
    let expected =
      Self.negotiation + Self.configuration
      + [
        .load(.queueCount, 1), .store(.queueSelect, 0), .load(.queueSize, 256),
        .store(.configVector, 0xFFFF), .load(.configVector, 0xFFFF),
      ] + Self.queueSetUp(0, size: 128, queue.memory.addresses) + Self.driverOK
    #expect(events.registers.difference(from: expected) == nil)
    let works = try queue.works(rig)
    #expect(works)
    #expect(rig.disk.violations.isEmpty)
  }

  @Test("row 10: a reset under way is the same list, with the same queues")
  func resetTrace() throws {
    let rig = try Rig(disk: { $0.queues = 2 }, options: { $0.queues = 2 })
    let first = try rig.device.makeQueue()
    let second = try rig.device.makeQueue()
    rig.function.clear()
    _ = consume first
    _ = consume second
    rig.device.reset()
    var queue = try rig.device.makeQueue()
    let other = try rig.device.makeQueue()
    let configuration = Self.configuration.map {
      $0 == .load(.config(34, width: 2), 1) ? .load(.config(34, width: 2), 2) : $0
    }
    let expected: [BusEvent] =
      [.store(.status, 0), .load(.status, 0)] + Self.negotiation + configuration
      + Self.queueSetUp(0, size: 128, queue.memory.addresses)
      + Self.queueSetUp(1, size: 128, other.memory.addresses) + Self.driverOK
    #expect(rig.function.events.registers.difference(from: expected) == nil)
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 11: after the write of 0 it waits until the status reads 0", arguments: [1, 2, 50])
  func resetWaits(reads: Int) throws {
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      register == .status && count < reads ? 0x0F : value
    }
    let rig = try Rig(script: script)
    let expected: [BusEvent] =
      [.store(.status, 0)] + Array(repeating: .load(.status, 0x0F), count: reads)
      + [.load(.status, 0), .load(.status, 0), .store(.status, 1)]
    let seen = Array(rig.function.events.registers.prefix(expected.count))
    #expect(seen.difference(from: expected) == nil)
  }

  @Test("row 12: a status bit is never cleared but by 0, and never invented")
  func cumulativeStatus() throws {
    let rig = try Rig()
    rig.device.reset()
    var last: UInt32 = 0
    for value in rig.function.events.stores(.status) {
      #expect(value == 0 || value & last == last, "\(value) after \(last)")
      #expect(value & ~0x8F == 0, "only ACK, DRIVER, DRIVER_OK, FEATURES_OK, FAILED are ours")
      last = value
    }
    #expect(rig.disk.violations.isEmpty)
  }

  @Test("row 13: FEATURES_OK that reads back clear stops it: FAILED, no queue, closed")
  func featuresRefused() throws {
    let (error, function) = try Rig.refusal(disk: { $0.hostility = .refusesFeatures })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("refuses the features") == true)
    #expect(error?.cause.contains("EVENT_IDX") == true, "it names what was asked for")
    let events = function.events
    #expect(events.stores(.status).last == 0x83)
    #expect(events.stores(.queueSelect).isEmpty)
    #expect(events.registers.allSatisfy { $0.register?.isConfig == false })
    #expect(function.closes == 1)
  }

  @Test("rows 14, 15, 16: no feature after FEATURES_OK; before it no configuration is touched")
  func featuresOKDivides() throws {
    let events = try Rig().function.events.registers
    let agreed = try #require(events.first(.store(.status, 0xB)))
    #expect(events[agreed...].allSatisfy { $0.stored?.register != .driverFeature })
    #expect(events[..<agreed].allSatisfy { $0.register?.isConfig == false })
    #expect(events.stores(.driverFeature).count == 2)
  }

  @Test("row 17: no doorbell before DRIVER_OK")
  func noEarlyDoorbell() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    let events = rig.function.events.registers
    let ready = try #require(events.first(.store(.status, 0xF)))
    let doorbell = try #require(events.firstIndex { $0.register?.isDoorbell == true })
    #expect(ready < doorbell)
    #expect(rig.disk.violations.isEmpty)
  }

  @Test(
    "row 18: an initialisation that can't go on ends with FAILED, and a later one resets first",
    arguments: [
      .refusesFeatures, .withoutVersion1, .notifyOffsetOutOfRange, .queueSizeZero,
      .queueCountZero, .generationStorm, .capacityHuge, .blockSizeZero,
    ] as [Hostility])
  func failed(hostility: Hostility) throws {
    let (error, function) = try Rig.refusal(disk: { $0.hostility = hostility })
    #expect(error?.code == .deviceUnavailable)
    let events = function.events
    let status = try #require(events.stores(.status).last)
    #expect(status & 0x80 != 0)
    #expect(status & 0x04 == 0, "never ready")
    #expect(events.registers.last == .store(.status, status), "nothing follows FAILED")
    #expect(events.last == .close)
    #expect(function.closes == 1)
    #expect(function.mapper.mappingCount == 0)

    let again = RecordingFunction(function.inner)
    _ = try? Device(again)
    #expect(again.events.registers.first == .store(.status, 0))
  }

  @Test("row 19: NEEDS_RESET ends what is in flight with `reset`, then the device works again")
  func needsReset() throws {
    let rig = try Rig(disk: { $0.mode = .stepped })
    var queue = try rig.device.makeQueue()
    for tag in 0..<3 as Range<UInt64> {
      let queued = try queue.queueRead(rig, tag: tag)
      #expect(queued)
    }
    queue.kick()
    rig.disk.needsReset()
    // The buffers come back, for the device has confirmed the reset.
    let ended = queue.takeAll(4, 20_000)
    #expect(ended == (0..<3).map { Ended(tag: $0, code: .reset) })
    let atRest = queue.isAtRest
    #expect(atRest)
    #expect(rig.disk.violations.isEmpty)
    #expect(rig.disk.dmaFaults.isEmpty)
  }
}
