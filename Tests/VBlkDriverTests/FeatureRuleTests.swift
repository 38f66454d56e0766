import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do with feature bits and configuration fields: rows 20-32 of the driver
/// checklist (virtio 1.2, 2.2, 2.5, 5.2.3-5.2.5, 6). Rows are those of facts/virtio.md, 1a.
///
/// Rows 25 and 31 are about features that this driver does not know: checked is that it accepts
/// none of them when everything is offered. Rows 32, 41, 52 and 57 have suites of their own, and
/// so has the rest of row 24 (``NotificationTests``). Rows 53-56 are PackedRingTests'.
@Suite("Driver rules: features and configuration")
struct FeatureRuleTests {
  /// What the driver accepted, from the trace.
  static func accepted(_ function: RecordingFunction) -> Features {
    var features: UInt64 = 0
    var select: UInt64 = 0
    for case .store(let register, let value) in function.events {
      if register == .driverFeatureSelect { select = UInt64(value) }
      if register == .driverFeature { features |= UInt64(value) << (32 * select) }
    }
    return Features(rawValue: features)
  }

  /// A device that offers `offer` and lets the true one believe that only what it has was taken.
  static func offering(_ offer: @escaping @Sendable (Features) -> Features)
    -> RecordingFunction.Script
  {
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      guard register == .deviceFeature else { return value }
      let shift = UInt64(32 * (count & 1))
      let offered = offer(Features(rawValue: UInt64(value) << shift)).rawValue
      return UInt32(truncatingIfNeeded: offered >> shift)
    }
    let configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    // The high half, VERSION_1 to SUSPEND, is known to it.
    let low = UInt32(truncatingIfNeeded: configuration.offered.rawValue)
    script.store = { register, value in
      guard register == .driverFeature, value > 0xFFF else { return value }
      return value & low
    }
    return script
  }

  // MARK: - Rows 20-26

  @Test("rows 20, 21, 25, 30, 31, 66: all 64 bits offered, only known ones accepted")
  func everythingOffered() throws {
    let rig = try Rig(
      script: Self.offering { _ in Features(rawValue: .max) },
      disk: {
        $0.extra = [
          .ringPacked, .inOrder, .ringReset, .notificationData, .notificationConfigData,
          .orderPlatform, .suspend,
        ]
        $0.configByteCount = 96
        $0.watchdog = false
      })
    let accepted = Self.accepted(rig.function)
    #expect(accepted == Negotiation.supported)
    #expect(rig.device.info.offered == Features(rawValue: .max))
    for unknown in [
      .bit(0), .bit(3), .bit(7), .bit(8), .geometry, .singleRootIOV, .bit(41), .bit(50),
      .bit(63),
    ] as [Features] {
      #expect(accepted.isDisjoint(with: unknown), "\(unknown.described)")
    }
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer()
    let count = try queue.read(at: 0, into: &buffer)
    #expect(count == 4096)
    #expect(rig.function.events.stores(Register(CommonConfig.queueReset, width: 2)).isEmpty)
    #expect(rig.function.events.stores(.status).allSatisfy { $0 & 0x10 == 0 }, "no SUSPEND")
  }

  @Test(
    "row 20: nothing that is not offered is accepted",
    arguments: (0..<64).filter { EmulatedDisk.Configuration.possible.contains(.bit($0)) })
  func onlyOffered(bit: Int) throws {
    let withheld = Features.bit(bit)
    let (error, function) = try Rig.refusal(disk: { $0.withheld = withheld })
    let accepted = Self.accepted(function)
    #expect(accepted.isDisjoint(with: withheld))
    let isNeeded = withheld == .version1 || withheld == .accessPlatform
    #expect((error != nil) == isNeeded)
  }

  @Test("row 20: CONFIG_WCE without FLUSH is dropped, whoever leaves FLUSH out")
  func orphan() throws {
    let offered = try Rig(disk: { $0.hostility = .orphanedFeatures })
    #expect(offered.device.info.offered.contains(.configWriteCache))
    #expect(Self.accepted(offered.function).isDisjoint(with: [.configWriteCache, .flush]))
    let declined = try Rig(options: { $0.declinedFeatures = .flush })
    #expect(Self.accepted(declined.function).isDisjoint(with: [.configWriteCache, .flush]))
    #expect(declined.function.events.loads(.config(32, width: 1)).isEmpty)
  }

  @Test("row 22: VERSION_1 is accepted; a device without it is refused, FAILED, and closed")
  func version1() throws {
    #expect(Self.accepted(try Rig().function).contains(.version1))
    let (error, function) = try Rig.refusal(disk: { $0.hostility = .withoutVersion1 })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("VERSION_1") == true)
    #expect(function.events.stores(.status).last == 0x83)
    #expect(function.events.stores(.driverFeature).isEmpty)
    #expect(function.closes == 1)
  }

  @Test("row 23: ACCESS_PLATFORM is accepted behind translation, and its absence refused")
  func accessPlatform() throws {
    #expect(Self.accepted(try Rig().function).contains(.accessPlatform))
    let (error, function) = try Rig.refusal(disk: { $0.withheld = .accessPlatform })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("ACCESS_PLATFORM") == true)
    #expect(function.events.stores(.status).last == 0x83)
    #expect(function.mapper.mappingCount == 0)
    #expect(function.closes == 1)
  }

  @Test("row 24: RO is accepted where it is offered")
  func readOnly() throws {
    let rig = try Rig(disk: { $0.readOnly = true })
    #expect(Self.accepted(rig.function).contains(.readOnly))
    #expect(rig.device.info.isReadOnly)
  }

  @Test("row 26: with FLUSH accepted a flush is sent; without it none is")
  func flush() throws {
    for offered in [true, false] {
      let rig = try Rig(disk: {
        $0.mode = .stepped
        if !offered { $0.withheld = .flush }
      })
      #expect(Self.accepted(rig.function).contains(.flush) == offered)
      var queue = try rig.device.makeQueue()
      let submission = queue.submitFlush(tag: 1)
      #expect(submission == (offered ? .queued : .completed(IOResult(byteCount: 0, code: nil))))
      queue.kick()
      let ring = RingView(queue, rig.function)
      let types = ring.chains(from: 0).map { ring.header($0).type }
      #expect(types == (offered ? [RequestType.flush.rawValue] : []))
      rig.disk.serve(queue: 0)
      let ended = queue.take(2000)
      #expect((ended != nil) == offered)
    }
  }

  // MARK: - Rows 27-29

  /// Fields of the configuration and the feature that makes them valid.
  static let gated: [(feature: Features, offsets: [UInt64])] = [
    (.sizeMax, [8]), (.segMax, [12]), (.blockSize, [20]), (.topology, [24, 26, 28]),
    (.configWriteCache, [32]), (.multiQueue, [34]), (.discard, [36, 40, 44]),
    (.writeZeroes, [48, 52, 56]),
  ]

  @Test("row 27: a field is read exactly where the feature that gates it was accepted")
  func gatedFields() throws {
    for (feature, offsets) in Self.gated {
      for declined in [false, true] {
        let script = Self.offering { $0.union([.topology, .sizeMax]) }
        let rig = try Rig(
          script: script, disk: { $0.watchdog = false },
          options: { $0.declinedFeatures = declined ? feature : [] })
        let read = Set(
          rig.function.events.compactMap(\.loaded).map(\.register).filter(\.isConfig)
            .map { $0.offset - Register.configOffset })
        for offset in offsets {
          #expect(read.contains(offset) != declined, "\(feature.described) at \(offset)")
        }
        #expect(read.isSuperset(of: [0, 4]), "capacity needs no feature")
        #expect(read.isDisjoint(with: [16, 18, 19, 25, 33, 57, 60, 64, 68, 72]))
      }
    }
  }

  @Test("row 28: any configuration as long as the features need is accepted, and no shorter one")
  func configurationSize() throws {
    let most: Features = EmulatedDisk.Configuration.possible
    let cases: [(withheld: Features, needed: Int)] = [
      ([], 57), (.writeZeroes, 48), ([.writeZeroes, .discard], 36),
      ([.writeZeroes, .discard, .multiQueue], 33),
      ([.writeZeroes, .discard, .multiQueue, .configWriteCache], 24),
      (most.subtracting([.version1, .accessPlatform]), 8),
    ]
    for (withheld, needed) in cases {
      for count in [needed, needed + 1, 96] where count <= 96 {
        _ = try Rig(disk: {
          $0.withheld = withheld
          $0.configByteCount = count
        })
      }
      guard needed > 8 else { continue }
      let (error, function) = try Rig.refusal(disk: {
        $0.withheld = withheld
        $0.configByteCount = needed - 1
      })
      #expect(error?.code == .deviceUnavailable)
      #expect(error?.cause.contains("\(needed - 1) bytes") == true, "\(error?.cause ?? "opened")")
      #expect(error?.cause.contains("need \(needed)") == true)
      #expect(function.closes == 1)
    }
  }

  @Test("row 29: fields of two generations are never mixed", arguments: [1, 2, 7])
  func generations(changes: Int) throws {
    // The generation moves under the first reads of the fields; the capacity flips with it from
    // 2^32 - 1 sectors to 2^32, of which each half by itself would give 2^33 - 1 or 0.
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      switch register {
      case .generation: UInt32(min((count + 1) / 2, changes))
      case .config(0, width: 4): count < changes ? 0xFFFF_FFFF : 0
      case .config(4, width: 4): 1
      default: value
      }
    }
    let rig = try Rig(script: script)
    #expect(rig.device.info.capacityBytes == 1 << 41)
    #expect(rig.function.events.loads(.config(0, width: 4)).count == changes + 1)
    #expect(rig.function.events.loads(.config(56, width: 1)).count == changes + 1)
  }
}
