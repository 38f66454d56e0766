import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Devices that lie before DRIVER_OK: rows 15-25, 27 and 29 of the hostile-device table
/// (facts/virtio.md, 4.2). Each gives one typed error with the value seen, or the documented
/// fallback; the function is closed, FAILED is set where the status can be written, and nothing
/// stays mapped.
@Suite("Hostile devices: configuration")
struct HostileConfigTests {
  /// A lie: how it is told, what the error must name, and whether the driver got as far as the
  /// status register.
  struct Lie: CustomTestStringConvertible, Sendable {
    let name: String
    var hostility: Hostility = []
    var script = RecordingFunction.Script()
    var queues = 1
    let causes: [String]
    var reachesStatus = true
    var isGone = false
    var code = VBlkError.Code.deviceUnavailable

    var testDescription: String { name }
  }

  /// A script whose loads of `register` all show `value`.
  static func showing(_ register: Register, _ shown: UInt32) -> RecordingFunction.Script {
    var script = RecordingFunction.Script()
    script.load = { seen, _, value in seen == register ? shown : value }
    return script
  }

  /// A script that changes bytes of configuration space.
  static func bytes(_ bytes: [Int: UInt8]) -> RecordingFunction.Script {
    var script = RecordingFunction.Script()
    script.configBytes = bytes
    return script
  }

  static let negotiationLies: [Lie] = [
    Lie(name: "15 FEATURES_OK refused", hostility: .refusesFeatures, causes: ["refuses"]),
    Lie(name: "15 no VERSION_1", hostility: .withoutVersion1, causes: ["VERSION_1"]),
    Lie(
      name: "17 reset reads 1", script: showing(.status, 1), causes: ["reset", "status reads 1"]),
    Lie(
      name: "17 reset reads 255", script: showing(.status, 255), causes: ["status reads 255"],
      isGone: true),
    Lie(name: "27 generation never rests", hostility: .generationStorm, causes: ["64 reads"]),
  ]

  static let capabilityLies: [Lie] = [
    Lie(
      name: "18 bar 7", hostility: .capabilityBarInvalid, causes: ["common"], reachesStatus: false),
    Lie(
      name: "18 outside the BAR", hostility: .capabilityOutsideBar,
      causes: ["deviceConfig", "16384"], reachesStatus: false),
    Lie(
      name: "18 offset and length wrap", hostility: .capabilityWraps,
      causes: ["notify", "4294963200", "8192"], reachesStatus: false),
    Lie(
      name: "18 too short", hostility: .capabilityTooShort, causes: ["common"],
      reachesStatus: false),
    Lie(
      name: "18 missing", hostility: .capabilityMissing, causes: ["notify"], reachesStatus: false),
    Lie(
      name: "18 misaligned", script: bytes([0x48: 2]), causes: ["commonConfig", "misaligned"],
      reachesStatus: false),
    Lie(
      name: "18 first capability at 0xFC", script: bytes([0x34: 0xFC, 0xFC: 9, 0xFD: 0]),
      causes: ["lacks"], reachesStatus: false),
    Lie(
      name: "18 a list that bites its tail, with nothing usable",
      script: bytes([0x34: 0xC0, 0xC0: 9, 0xC1: 0xC0, 0xC2: 4, 0xC3: 1]),
      causes: ["does not end"], reachesStatus: false),
    Lie(
      name: "18 a first capability inside the header", script: bytes([0x34: 0x10]),
      causes: ["legacy"], reachesStatus: false),
  ]

  static let queueLies: [Lie] = [
    Lie(
      name: "19 notify offset out of range", hostility: .notifyOffsetOutOfRange,
      causes: ["65520", "outside"]),
    Lie(
      name: "19 offset times multiplier overflows 32 bits",
      script: {
        var script = showing(.queueNotifyOffset, 0xFFFF)
        // The multiplier of the notify capability, which is the second one.
        for index in 0x60..<0x64 { script.configBytes[index] = 0xFF }
        return script
      }(), causes: ["65535 x 4294967295"]),
    Lie(
      name: "19 misaligned doorbell",
      script: {
        var script = showing(.queueNotifyOffset, 1)
        for (index, byte) in [1, 0, 0, 0].enumerated() {
          script.configBytes[0x60 + index] = UInt8(byte)
        }
        return script
      }(), causes: ["1 x 1"]),
    Lie(name: "20 queue size 0", hostility: .queueSizeZero, causes: ["size 0"]),
    Lie(name: "20 queue size no power of two", hostility: .queueSizeOdd, causes: ["size 255"]),
    Lie(name: "20 queue size 65535", hostility: .queueSizeHuge, causes: ["size 65535"]),
    Lie(
      name: "20 queue size differs after the write", hostility: .queueSizeIgnored,
      causes: ["size 256", "given 128"]),
    Lie(name: "21 num_queues 0 with MQ", hostility: .queueCountZero, causes: ["num_queues 0"]),
    Lie(
      name: "21 common num_queues 0", script: showing(.queueCount, 0), causes: ["common 0"]),
    Lie(
      name: "21 num_queues 65535, common 1", hostility: .queueCountHuge, queues: 2,
      causes: ["has 1 queues", "2 were"], code: .invalidArgument),
  ]

  static let fieldLies: [Lie] = [
    Lie(
      name: "22 capacity overflows", hostility: .capacityHuge, causes: ["18446744073709551615"]),
    Lie(
      name: "22 capacity of 2^54 sectors",
      script: showing(.config(4, width: 4), 1 << 22), causes: ["18014398509484032"]),
    Lie(name: "23 blk_size 0", hostility: .blockSizeZero, causes: ["blk_size is 0"]),
    Lie(name: "23 blk_size 513", hostility: .blockSizeOdd, causes: ["blk_size is 513"]),
    Lie(name: "23 blk_size 2^31", hostility: .blockSizeHuge, causes: ["blk_size is 2147483648"]),
    Lie(
      name: "23 blk_size 256", script: showing(.config(20, width: 4), 256),
      causes: ["blk_size is 256"]),
  ]

  @Test(
    "rows 15-23, 27: one typed error, the value seen, FAILED, closed, nothing mapped",
    arguments: [negotiationLies, capabilityLies, queueLies, fieldLies].flatMap(\.self))
  func refused(lie: Lie) throws {
    let (error, function) = try Rig.refusal(
      script: lie.script, disk: { $0.hostility = lie.hostility },
      options: { $0.queues = lie.queues })
    let seen = try #require(error, "it opened")
    #expect(seen.code == lie.code)
    for cause in lie.causes { #expect(seen.cause.contains(cause), "\(seen.cause)") }
    #expect(!seen.remedy.isEmpty, "it says what to do")
    let events = function.events
    #expect(function.closes == 1)
    #expect(events.last == .close)
    #expect(function.mapper.mappingCount == 0)
    #expect(events.stores(.status).allSatisfy { $0 & 4 == 0 }, "never DRIVER_OK")
    if lie.isGone {
      #expect(events.stores(.status) == [0], "all ones are not written back")
    } else if lie.reachesStatus {
      #expect(try #require(events.stores(.status).last) & 0x80 != 0, "FAILED")
    } else {
      #expect(events.registers.isEmpty, "no register was touched")
    }
  }

  @Test("row 17: a reset that never ends is waited for a second, no longer")
  func resetIsBounded() throws {
    let start = ContinuousClock.now
    let (error, _) = try Rig.refusal(script: Self.showing(.status, 1))
    let spent = ContinuousClock.now - start
    #expect(error != nil)
    #expect(spent >= .milliseconds(900) && spent < .seconds(8))
  }

  @Test("row 17: a device that never confirms the reset keeps its memory, and gives none back")
  func quarantine() throws {
    let function: RecordingFunction
    do {
      let rig = try Rig(disk: { $0.mode = .stepped })
      function = rig.function
      var queue = try rig.device.makeQueue()
      let queued = try queue.queueRead(rig, tag: 7)
      #expect(queued)
      queue.kick()
      rig.disk.misbehave(.resetNeverEnds)
      rig.device.reset()
      #expect(rig.device.isQuarantined)
      let ended = queue.take()
      #expect(
        ended
          == Ended(tag: 7, result: IOResult(byteCount: 0, code: .reset), hasBuffer: false))
      let extra = queue.take(2000)
      #expect(extra == nil)
      var code: VBlkError.Code?
      if case .refused(let seen, _) = queue.submitRead(at: 0, into: try rig.buffer(), tag: 8) {
        code = seen
      }
      #expect(code == .removed)
    }
    #expect(function.mapper.mappingCount > 0, "the device may still write there")
    #expect(!function.events.contains { if case .unmap = $0 { true } else { false } })
  }

  @Test("row 16: the offer is read once; a device that shows another one later is not believed")
  func oneSnapshot() throws {
    let rig = try Rig(disk: { $0.hostility = .featuresChange })
    #expect(rig.function.events.loads(.deviceFeature).count == 2)
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    // After the reset it offers what it did not before: not the device that was opened.
    rig.device.reset()
    let nothing = queue.take(2000)
    #expect(nothing == nil)
    var code: VBlkError.Code?
    if case .refused(let seen, _) = queue.submitRead(at: 0, into: try rig.buffer(), tag: 1) {
      code = seen
    }
    #expect(code == .removed)
    #expect(try #require(rig.function.events.stores(.status).last) & 0x80 != 0, "FAILED")
  }

  @Test("row 18: a loop behind usable capabilities ends the walk")
  func loop() throws {
    let rig = try Rig(disk: { $0.hostility = .capabilityLoop })
    let reads = rig.function.events.count { if case .configLoad = $0 { true } else { false } }
    #expect(reads < 400, "bounded: \(reads)")
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 20: rings of 1 and 2 work with INDIRECT_DESC, and are refused without")
  func tinyRings() throws {
    for size in [1, 2] {
      let rig = try Rig(disk: { $0.queueSize = size })
      var queue = try rig.device.makeQueue()
      let works = try queue.works(rig)
      #expect(works)
      #expect(queue.depth == size)
      let (error, function) = try Rig.refusal(disk: {
        $0.queueSize = size
        $0.withheld = .indirectDescriptors
      })
      #expect(error?.code == .deviceUnavailable)
      #expect(error?.cause.contains("\(size) entries") == true)
      #expect(function.closes == 1)
    }
  }

  @Test("row 22: a device of 0 bytes opens; reads give nothing, writes find no space")
  func emptyDevice() throws {
    let rig = try Rig(disk: { $0.hostility = .capacityZero })
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer()
    let count = try queue.read(at: 0, into: &buffer)
    #expect(count == 0)
    let error = #expect(throws: VBlkError.self) {
      try queue.write(at: 0, from: try rig.buffer())
    }
    #expect(error?.code == .noSpace)
    #expect(queue.statistics.requests == 0)
  }

  @Test("row 22: the end of a capacity that is no whole number of blocks is left alone")
  func oddCapacity() throws {
    let rig = try Rig(
      script: Self.showing(.config(0, width: 4), 2047), disk: { $0.blockSize = 4096 })
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer(8192)
    let count = try queue.read(at: (1 << 20) - 8192, into: &buffer)
    #expect(count == 4096)
    #expect(rig.disk.counters(queue: 0).failedRequests == 0)
  }

  @Test("row 23: an absurd topology is ignored, nothing shifts or divides by it")
  func topology() throws {
    var script = FeatureRuleTests.offering { $0.union(.topology) }
    let features = script.load
    script.load = { register, count, value in
      switch register {
      case .config(24, width: 1): 255
      case .config(26, width: 2): 0xFFFF
      case .config(28, width: 4): .max
      default: features(register, count, value)
      }
    }
    let rig = try Rig(script: script, disk: { $0.watchdog = false })
    let limits = rig.device.info.limits
    #expect(limits.physicalBlockSize == 512)
    #expect(limits.ioMinimum == 65535 * 512)
    #expect(limits.ioOptimal == Int(UInt32.max) * 512)
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 24: seg_max 0 is one segment; size_max 0 is no limit; less than a block is refused")
  func segmentLimits() throws {
    let none = try Rig(disk: { $0.hostility = .segMaxZero })
    #expect(none.device.info.limits.maxSegments == 1)
    let free = try Rig(disk: { $0.sizeMax = 0 })
    #expect(free.device.info.limits.maxSegmentSize == 1 << 30)
    for rig in [none, free] {
      var queue = try rig.device.makeQueue()
      let works = try queue.works(rig)
      #expect(works)
    }
    for (size, block) in [(1, 512), (511, 512), (512, 4096), (4095, 4096)] as [(UInt32, UInt32)] {
      let (error, function) = try Rig.refusal(disk: {
        $0.sizeMax = size
        $0.blockSize = block
      })
      #expect(error?.code == .deviceUnavailable)
      #expect(error?.cause.contains("size_max is \(size)") == true)
      #expect(try #require(function.events.stores(.status).last) & 0x80 != 0)
      #expect(function.closes == 1)
    }
  }

  @Test("row 25: discard limits of 0 segments are no discard, 0 sectors no limit")
  func discardLimits() throws {
    let none = try Rig(disk: { $0.hostility = .discardLimitsZero })
    #expect(none.device.info.limits.maxDiscardBytes == 0)
    #expect(none.device.info.limits.discardAlignment == 512)
    var queue = try none.device.makeQueue()
    #expect(queue.submitDiscard(at: 0, byteCount: 4096, tag: 1) == .refused(.unsupported))
    #expect(queue.submitWriteZeroes(at: 0, byteCount: 4096, tag: 1) == .refused(.unsupported))
    let works = try queue.works(none)
    #expect(works)
    let unlimited = try Rig(disk: {
      $0.maxDiscardSectors = 0
      $0.discardSectorAlignment = .max
    })
    #expect(unlimited.device.info.limits.maxDiscardBytes == Int(UInt32.max) * 512)
    #expect(unlimited.device.info.limits.discardAlignment == Int(UInt32.max) * 512)
  }

  @Test("row 29: NEEDS_RESET during bring-up is met by the ordinary reset")
  func needsResetEarly() throws {
    let rig = try Rig(disk: { $0.hostility = .needsResetEarly })
    rig.disk.misbehave([])
    var queue = try rig.device.makeQueue()
    _ = queue.take(200_000)
    #expect(queue.statistics.resets == 1)
    let works = try queue.works(rig)
    #expect(works)
    #expect(rig.disk.violations.isEmpty)
  }
}
