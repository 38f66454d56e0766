import Testing
import VBlkEmu
import Virtio

/// The zoned disk: rows 89, 91 and 110-119 of the device checklist (virtio 1.3, 5.2.5.2 and
/// 5.2.6.2).
@Suite("zones") struct ZoneRequestTests {
  /// Zones of 64 sectors, 48 of them writable; two conventional ones first, the last one of 32.
  static let layout: EmulatedDisk.Zones = {
    var zones = EmulatedDisk.Zones(.hostManaged)
    zones.zoneSectors = 64
    zones.capacitySectors = 48
    zones.conventionalZones = 2
    zones.maxAppendSectors = 16
    return zones
  }()
  static let sectors: UInt64 = 64 * 9 + 32

  static func driver(
    start: Bool = true, _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: sectors * 512))
    configuration.zones = layout
    configuration.extra = .secureErase
    edit(&configuration)
    let driver = try MiniDriver(configuration)
    if start { driver.start(size: 64) }
    return driver
  }

  /// A zone as a report shows it.
  struct Shown: Equatable {
    var start: UInt64
    var capacity: UInt64
    var pointer: UInt64
    var type: UInt8
    var state: ZoneState
  }

  static func report(_ driver: MiniDriver, from sector: UInt64 = 0, bytes: Int = 64 * 12) -> [Shown]
  {
    let area = driver.address(driver.allocate(bytes, 64))
    guard let done = driver.perform(.zoneReport, sector, [.into(area, bytes)]), done.status == 0
    else { return [] }
    let count = driver.load(driver.offset(area), UInt64.self)
    #expect(done.length >= 64 + 64 * UInt32(count))
    return (0..<Int(count)).map { index in
      let at = driver.offset(area) + 64 + 64 * index
      return Shown(
        start: driver.load(at + 8, UInt64.self), capacity: driver.load(at, UInt64.self),
        pointer: driver.load(at + 16, UInt64.self), type: driver.load(at + 24, UInt8.self),
        state: ZoneState(rawValue: driver.load(at + 25, UInt8.self)) ?? .offline)
    }
  }

  static func write(_ driver: MiniDriver, _ sector: UInt64, _ count: Int) -> UInt8? {
    driver.write(
      RequestTests.pattern(count * 512, UInt8(truncatingIfNeeded: sector)), sector: sector)
  }

  /// An append, and where it says that it went.
  static func append(
    _ driver: MiniDriver, _ sector: UInt64, _ count: Int
  ) -> (status: UInt8, at: UInt64)? {
    let data = driver.address(driver.allocate(count * 512 + 8, 512))
    let answer = driver.address(driver.allocate(8))
    guard
      let done = driver.perform(
        .zoneAppend, sector, [.out(data, count * 512), .into(answer, 8)])
    else { return nil }
    #expect(done.status != 0 || done.length == 9)
    return (done.status, driver.load(driver.offset(answer), UInt64.self))
  }

  // MARK: - Negotiation

  @Test("row 91: a host-managed disk refuses a driver without ZONED, the others show no zones")
  func withoutZoned() throws {
    let managed = try Self.driver(start: false)
    #expect(managed.offered.contains(.zoned) && !managed.offered.contains(.discard), "row 66")
    managed.negotiate(without: .zoned)
    #expect(!managed.status.contains(.featuresOK))
    managed.negotiate()
    #expect(managed.status.contains(.featuresOK))
    for model in [ZonedModel.hostAware, .none] {
      let driver = try Self.driver(start: false) { $0.zones?.model = model }
      #expect(driver.offered.isSuperset(of: [.zoned, .discard]))
      driver.negotiate(without: .zoned)
      #expect(driver.status.contains(.featuresOK))
      #expect((72..<96).allSatisfy { driver.config($0, 1) == 0 })
      driver.negotiate()
      #expect(driver.config(92, 1) == UInt32(model.rawValue))
      #expect((driver.config(72, 4) == 64) == (model == .hostAware))
    }
  }

  @Test("rows 89, 111, 118: the fields, their padding, and an erase alignment of whole zones")
  func fields() throws {
    let driver = try Self.driver {
      $0.zones?.maxOpenZones = 3
      $0.zones?.maxActiveZones = 5
    }
    #expect([72, 76, 80, 84, 88].map { driver.config($0, 4) } == [64, 3, 5, 16, 512])
    #expect(driver.config(92, 1) == 1)
    #expect((93..<96).allSatisfy { driver.config($0, 1) == 0 })
    #expect(driver.config(BlockConfigLayout.secureEraseSectorAlignment, 4) == 64)
    let zones = Self.report(driver)
    #expect(zones.count == 10, "ceil(capacity / zone_sectors)")
    #expect(zones.map(\.start) == (0..<10).map { $0 * 64 })
    #expect(zones.map(\.capacity) == [64, 64] + Array(repeating: 48, count: 7) + [32])
    #expect(zones.map(\.type) == [1, 1] + Array(repeating: 2, count: 8))
    #expect(zones[2...].allSatisfy { $0.state == .empty && $0.pointer == $0.start })
    #expect(zones[..<2].allSatisfy { $0.state == .notWritePointer })
  }

  @Test("row 110: without ZONED its requests are UNSUPP") func notNegotiated() throws {
    let driver = try Self.driver(start: false) { $0.zones?.model = .hostAware }
    driver.start(without: .zoned)
    for type in RequestType.allCases where type.isZoned {
      #expect(driver.perform(type, 128)?.status == 2, "\(type)")
    }
    #expect(Self.write(driver, 200, 8) == 0, "an ordinary disk")
  }

  // MARK: - Wrong zones

  @Test("row 112: commands on a conventional zone, appends to what isn't SWR: ZONE_INVALID_CMD")
  func wrongType() throws {
    let driver = try Self.driver()
    for type in [RequestType.zoneOpen, .zoneClose, .zoneFinish, .zoneReset] {
      #expect(driver.perform(type, 64)?.status == 3, "\(type) of a conventional zone")
      #expect(driver.perform(type, 129)?.status == 3, "\(type) inside a zone")
      #expect(driver.perform(type, Self.sectors)?.status == 3, "\(type) beyond the end")
      #expect(driver.perform(type, .max)?.status == 3)
    }
    #expect(Self.append(driver, 64, 1)?.status == 3)
    #expect(Self.append(driver, 129, 1)?.status == 3)
    let aware = try Self.driver { $0.zones?.model = .hostAware }
    #expect(Self.append(aware, 128, 1)?.status == 3)
    #expect(Self.write(driver, 3, 90) == 0, "conventional zones are written anywhere")
    #expect(Self.write(driver, 120, 16) == 3, "but not from there into another zone")
  }

  @Test("row 113: writes off the pointer, off the granularity, across the capacity, to full zones")
  func wrongPlace() throws {
    let driver = try Self.driver { $0.zones?.writeGranularity = 4096 }
    #expect(Self.write(driver, 136, 8) == 4)
    #expect(Self.write(driver, 128, 4) == 4)
    #expect(Self.write(driver, 128, 8) == 0)
    #expect(Self.write(driver, 128, 8) == 4)
    #expect(Self.write(driver, 136, 48) == 3, "across the capacity")
    #expect(Self.write(driver, 136, 72) == 3, "into the next zone")
    #expect(Self.write(driver, 136, 40) == 0)
    #expect(Self.report(driver)[2].state == .full)
    #expect(Self.write(driver, 176, 8) == 3)
    #expect(Self.write(driver, 128, 8) == 3)
    try driver.disk.failZone(3, as: .readOnly)
    try driver.disk.failZone(4, as: .offline)
    #expect(Self.write(driver, 192, 8) == 3)
    #expect(Self.write(driver, 256, 8) == 3)
    #expect(driver.read(sector: 192, 512) != nil)
    #expect(driver.read(sector: 256, 512) == nil)
    for type in [RequestType.zoneOpen, .zoneClose, .zoneFinish, .zoneReset] {
      #expect(driver.perform(type, 192)?.status == 3 && driver.perform(type, 256)?.status == 3)
    }
    #expect(throws: EmulatorError.self) { try driver.disk.failZone(0, as: .offline) }
    #expect(throws: EmulatorError.self) { try driver.disk.failZone(3, as: .full) }
  }

  // MARK: - Resources

  @Test("row 114: limits of open and active zones, an implicitly open one makes room")
  func resources() throws {
    let driver = try Self.driver {
      $0.zones?.maxOpenZones = 2
      $0.zones?.maxActiveZones = 3
    }
    func start(_ zone: UInt64) -> UInt64 { zone * 64 }
    #expect(Self.write(driver, start(2), 1) == 0)
    #expect(Self.write(driver, start(3), 1) == 0)
    #expect(Self.write(driver, start(4), 1) == 0)
    #expect(Self.report(driver)[2...4].map(\.state) == [.closed, .implicitlyOpen, .implicitlyOpen])
    #expect(Self.write(driver, start(5), 1) == 6, "both exceeded: ACTIVE")
    #expect(driver.perform(.zoneOpen, start(5))?.status == 6)
    #expect(driver.perform(.zoneOpen, start(3))?.status == 0)
    #expect(driver.perform(.zoneOpen, start(4))?.status == 0)
    let before = Self.report(driver)
    #expect(driver.perform(.zoneOpen, start(2))?.status == 5, "two explicitly open ones")
    #expect(Self.write(driver, start(2) + 1, 1) == 5)
    #expect(Self.append(driver, start(2), 1)?.status == 5)
    #expect(Self.report(driver) == before, "nothing has changed")
    #expect(driver.perform(.zoneFinish, start(2))?.status == 0)
    #expect(driver.perform(.zoneClose, start(3))?.status == 0)
    #expect(Self.write(driver, start(5), 1) == 0)
  }

  // MARK: - Append

  @Test("row 115: an append goes to the pointer and says where; too large or not offered")
  func appends() throws {
    let driver = try Self.driver()
    for step in 0..<3 as Range<UInt64> {
      let done = Self.append(driver, 128, 16)
      #expect(done?.status == 0 && done?.at == 128 + 16 * step)
    }
    #expect(Self.report(driver)[2].state == .full)
    #expect(Self.append(driver, 128, 1)?.status == 3)
    #expect(Self.append(driver, 192, 17)?.status == 3, "more than max_append_sectors")
    #expect(Self.append(driver, 192, 0)?.status == 3)
    let without = try Self.driver { $0.zones?.maxAppendSectors = 0 }
    #expect(Self.append(without, 192, 1)?.status == 2)
    let data = driver.address(driver.allocate(512))
    #expect(driver.perform(.zoneAppend, 192, [.out(data, 512)])?.status == 1, "no room to say it")
    #expect(driver.perform(.zoneAppend, 192, [.out(data, 512), .into(data, 7)])?.status == 1)
    #expect(Self.report(driver)[3].state == .empty)
  }

  // MARK: - The state machine

  /// What brings zone 3, of sectors 192 to 255, into a state.
  private func bring(_ driver: MiniDriver, _ state: ZoneState, written: Bool) throws {
    if written { #expect(Self.write(driver, 192, 8) == 0) }
    switch state {
    case .empty, .implicitlyOpen: break
    case .explicitlyOpen: #expect(driver.perform(.zoneOpen, 192)?.status == 0)
    case .closed: #expect(driver.perform(.zoneClose, 192)?.status == 0)
    case .full: #expect(driver.perform(.zoneFinish, 192)?.status == 0)
    default: try driver.disk.failZone(3, as: state)
    }
    #expect(Self.report(driver)[3].state == state)
  }

  private typealias Row = (ZoneState, written: Bool, [(status: UInt8, ZoneState)])
  // OPEN, CLOSE, FINISH, RESET, RESET_ALL, a write at the pointer, an append.
  private static let machine: [Row] = [
    (
      .empty, false,
      [
        (0, .explicitlyOpen), (3, .empty), (0, .full), (0, .empty), (0, .empty),
        (0, .implicitlyOpen), (0, .implicitlyOpen),
      ]
    ),
    (
      .implicitlyOpen, true,
      [
        (0, .explicitlyOpen), (0, .closed), (0, .full), (0, .empty), (0, .empty),
        (0, .implicitlyOpen), (0, .implicitlyOpen),
      ]
    ),
    (
      .explicitlyOpen, false,
      [
        (0, .explicitlyOpen), (0, .empty), (0, .full), (0, .empty), (0, .empty),
        (0, .explicitlyOpen), (0, .explicitlyOpen),
      ]
    ),
    (
      .explicitlyOpen, true,
      [
        (0, .explicitlyOpen), (0, .closed), (0, .full), (0, .empty), (0, .empty),
        (0, .explicitlyOpen), (0, .explicitlyOpen),
      ]
    ),
    (
      .closed, true,
      [
        (0, .explicitlyOpen), (0, .closed), (0, .full), (0, .empty), (0, .empty),
        (0, .implicitlyOpen), (0, .implicitlyOpen),
      ]
    ),
    (
      .full, true,
      [
        (3, .full), (3, .full), (0, .full), (0, .empty), (0, .empty), (3, .full), (3, .full),
      ]
    ),
    (
      .readOnly, true,
      [
        (3, .readOnly), (3, .readOnly), (3, .readOnly), (3, .readOnly), (0, .readOnly),
        (3, .readOnly), (3, .readOnly),
      ]
    ),
    (
      .offline, true,
      [
        (3, .offline), (3, .offline), (3, .offline), (3, .offline), (0, .offline),
        (3, .offline), (3, .offline),
      ]
    ),
  ]

  @Test("row 116: every command in every state")
  func stateMachine() throws {
    let commands: [RequestType] = [.zoneOpen, .zoneClose, .zoneFinish, .zoneReset, .zoneResetAll]
    for (state, written, outcomes) in Self.machine {
      for (index, outcome) in outcomes.enumerated() {
        let driver = try Self.driver()
        try bring(driver, state, written: written)
        let status: UInt8? =
          if index < commands.count {
            driver.perform(commands[index], index == 4 ? 0 : 192)?.status
          } else if index == 5 {
            Self.write(driver, written ? 200 : 192, 8)
          } else {
            Self.append(driver, 192, 8)?.status
          }
        #expect(status == outcome.status, "\(state) \(index)")
        let after = Self.report(driver)[3]
        #expect(after.state == outcome.1, "\(state) \(index)")
        if after.state == .empty { #expect(after.pointer == 192) }
        // Twice comes to the same.
        guard index < commands.count, outcome.status == 0, outcome.1 != .empty else { continue }
        #expect(driver.perform(commands[index], index == 4 ? 0 : 192)?.status == 0)
        #expect(Self.report(driver)[3] == after)
      }
    }
  }

  @Test("row 117: what isn't written reads as zeroes, also after a reset and behind a finish")
  func unwritten() throws {
    let driver = try Self.driver()
    let bytes = RequestTests.pattern(8 * 512, 128)
    #expect(Self.write(driver, 128, 8) == 0)
    let zeroes = [UInt8](repeating: 0, count: 8 * 512)
    #expect(driver.read(sector: 128, 16 * 512) == bytes + zeroes)
    #expect(driver.read(sector: 184, 8 * 512) == zeroes, "behind the capacity")
    #expect(driver.perform(.zoneFinish, 128)?.status == 0)
    #expect(driver.read(sector: 128, 16 * 512) == bytes + zeroes)
    #expect(driver.perform(.zoneReset, 128)?.status == 0)
    #expect(driver.read(sector: 128, 8 * 512) == zeroes)
    #expect(driver.read(sector: 188, 8 * 512) == nil, "in two zones")
    let area = driver.address(driver.allocate(8 * 512, 512))
    #expect(driver.perform(.read, 188, [.into(area, 8 * 512)])?.status == 3)
    #expect(Self.write(driver, 0, 1) == 0 && Self.write(driver, 128, 8) == 0)
    #expect(driver.perform(.zoneFinish, 192)?.status == 0)
    #expect(driver.perform(.zoneResetAll)?.status == 0)
    #expect(Self.report(driver)[2...].allSatisfy { $0.state == .empty && $0.pointer == $0.start })
    #expect(
      driver.read(sector: 0, 512) == Array(RequestTests.pattern(512, 0)), "conventional stays")
  }

  @Test("row 118: a secure erase resets whole zones") func erase() throws {
    let driver = try Self.driver()
    #expect(Self.write(driver, 128, 8) == 0 && Self.write(driver, 192, 8) == 0)
    func erase(_ sector: UInt64, _ count: UInt32) -> UInt8? {
      let range = driver.allocate(16)
      driver.store(range, RangeSegment(sector: sector, sectorCount: count, flags: 0))
      return driver.perform(.secureErase, 0, [.out(driver.address(range), 16)])?.status
    }
    #expect(erase(128, 32) == 1 && erase(129, 64) == 1)
    #expect(Self.report(driver)[2].pointer == 136)
    #expect(erase(0, 64) == 3, "a conventional zone can't be reset")
    #expect(erase(128, 128) == 0)
    #expect(Self.report(driver)[2...3].allSatisfy { $0.state == .empty })
    #expect(erase(64 * 9, 32) == 0, "the last, smaller one")
  }

  @Test("row 119: a report counts the descriptors that fit, from the zone of the sector")
  func reports() throws {
    let driver = try Self.driver()
    #expect(Self.report(driver, from: 200, bytes: 64 * 3).map(\.start) == [192, 256])
    #expect(Self.report(driver, from: 200, bytes: 64 * 3 + 63).map(\.start) == [192, 256])
    #expect(Self.report(driver, from: 64 * 9 + 31).map(\.start) == [64 * 9])
    #expect(Self.report(driver, bytes: 64).isEmpty)
    let area = driver.address(driver.allocate(128, 64))
    #expect(driver.perform(.zoneReport, 0, [.into(area, 63)])?.status == 3)
    #expect(driver.perform(.zoneReport, Self.sectors, [.into(area, 128)])?.status == 3)
    let split = driver.perform(
      .zoneReport, 0, [.into(area, 5), .into(area + 5, 70), .into(area + 75, 53)])
    #expect(split?.status == 0 && split?.length == 129)
    #expect(driver.load(driver.offset(area), UInt64.self) == 1)
  }

  @Test("a host-aware disk is written anywhere, and its pointers are behind what is written")
  func hostAware() throws {
    let driver = try Self.driver {
      $0.zones?.model = .hostAware
      $0.zones?.capacitySectors = 64
      $0.zones?.maxOpenZones = 1
    }
    #expect(Self.write(driver, 150, 8) == 0)
    #expect(Self.report(driver)[2].pointer == 158)
    #expect(Self.write(driver, 130, 8) == 0)
    #expect(Self.report(driver)[2].pointer == 158)
    #expect(Self.write(driver, 180, 40) == 0, "over two zones")
    #expect(Self.report(driver)[2].state == .full)
    #expect(Self.report(driver)[3].state == .implicitlyOpen)
    #expect(Self.report(driver)[3].pointer == 220)
    #expect(Self.write(driver, 128, 4) == 0, "full ones too")
    #expect(driver.read(sector: 150, 8 * 512) == RequestTests.pattern(8 * 512, 150))
    #expect(driver.perform(.zoneReset, 128)?.status == 0)
    #expect(driver.read(sector: 150, 512) == [UInt8](repeating: 0, count: 512))
  }

  // MARK: - Random

  @Test("random commands keep pointers, limits and data", arguments: 1...20 as ClosedRange<UInt64>)
  func random(seed: UInt64) throws {
    let driver = try Self.driver {
      $0.zones?.maxOpenZones = 2
      $0.zones?.maxActiveZones = 4
    }
    var random = Random(seed: seed)
    var written: [UInt64: [UInt8]] = [:]
    var statuses: Set<UInt8> = []
    for step in 0..<300 {
      let zone = UInt64(2 + random.below(8))
      let shown = Self.report(driver)
      let at = shown[Int(zone)]
      let status: UInt8
      switch random.below(9) {
      case 0: status = driver.perform(.zoneOpen, at.start)?.status ?? 0xEE
      case 1: status = driver.perform(.zoneClose, at.start)?.status ?? 0xEE
      case 2: status = driver.perform(.zoneFinish, at.start)?.status ?? 0xEE
      case 3:
        status = driver.perform(.zoneReset, at.start)?.status ?? 0xEE
        if status == 0 { written = written.filter { $0.key < at.start || $0.key >= at.start + 64 } }
      case 4...6:
        let count = 1 + random.below(16)
        let place = random.below(4) == 0 ? at.start + UInt64(random.below(48)) : at.pointer
        guard place < Self.sectors else { continue }
        let bytes = RequestTests.pattern(count * 512, UInt8(truncatingIfNeeded: step))
        status =
          place + UInt64(count) > Self.sectors ? 1 : driver.write(bytes, sector: place) ?? 0xEE
        if status == 0 {
          #expect(place == at.pointer, "seed \(seed) step \(step)")
          for index in 0..<count {
            written[place + UInt64(index)] = Array(bytes[index * 512..<index * 512 + 512])
          }
        }
      default:
        let count = 1 + random.below(16)
        let done = Self.append(driver, at.start, count)
        status = done?.status ?? 0xEE
        if status == 0 {
          #expect(done?.at == at.pointer, "seed \(seed) step \(step)")
          for index in 0..<count {
            written[at.pointer + UInt64(index)] = [UInt8](repeating: 0, count: 512)
          }
        }
      }
      statuses.insert(status)
      let after = Self.report(driver)
      let open = after.filter { $0.state == .implicitlyOpen || $0.state == .explicitlyOpen }.count
      let active = open + after.filter { $0.state == .closed }.count
      #expect(open <= 2 && active <= 4, "seed \(seed) step \(step)")
      if status != 0 { #expect(after == shown, "seed \(seed) step \(step): a refusal changed it") }
    }
    for zone in 2..<10 as Range<UInt64> {
      for sector in zone * 64..<min(zone * 64 + 64, Self.sectors) {
        let wanted = written[sector] ?? [UInt8](repeating: 0, count: 512)
        guard let seen = driver.read(sector: sector, 512) else { continue }
        #expect(seen == wanted, "seed \(seed) sector \(sector)")
      }
    }
    #expect(statuses.isSuperset(of: [0, 3]), "seed \(seed) reached \(statuses)")
    #expect(driver.disk.violations.isEmpty)
  }
}

/// A small seeded generator: the same seed, the same run.
private struct Random {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func below(_ bound: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 0x2545_F491_4F6C_DD1D) >> 33) % bound
  }
}
