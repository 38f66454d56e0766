import Testing
import VBlkEmu
import Virtio

/// The modelled cache and its oracle: rows 106 and 107 of the device checklist (virtio 1.2,
/// 5.2.6.2).
@Suite("power cuts") struct PowerCutTests {
  private static let sectors = 64
  private static let losses: [PowerLoss] =
    [.losesAll, .losesNothing]
    + (1...8 as ClosedRange<UInt64>).flatMap {
      [.keepsPrefix(seed: $0), .keepsSome(seed: $0), .tears(seed: $0)]
    }

  private func driver(
    _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> MiniDriver {
    var configuration = EmulatedDisk.Configuration(
      .memory(byteCount: UInt64(Self.sectors) * 512))
    configuration.modelsCache = true
    configuration.extra = .secureErase
    edit(&configuration)
    let driver = try MiniDriver(configuration)
    driver.start()
    return driver
  }

  /// Cuts the power, starts anew, and reads everything.
  private func cut(_ driver: MiniDriver, _ loss: PowerLoss) throws -> [UInt8] {
    try driver.disk.cutPower(loss)
    #expect(driver.status.isEmpty, "as after a reset")
    driver.rings = []
    driver.start()
    return try #require(driver.read(sector: 0, Self.sectors * 512))
  }

  private func fill(_ value: UInt8, _ sectors: Int) -> [UInt8] {
    [UInt8](repeating: value, count: sectors * 512)
  }

  @Test("a power cut keeps nothing, everything, a prefix, some writes, or some sectors of them")
  func losses() throws {
    var seen: Set<[UInt8]> = []
    for loss in Self.losses {
      let driver = try driver()
      #expect(driver.write(fill(1, 8), sector: 0) == 0)
      #expect(driver.perform(.flush)?.status == 0)
      #expect(driver.disk.volatileWrites == 0)
      for value in 2...5 as ClosedRange<UInt8> {
        #expect(driver.write(fill(value, 8), sector: 0) == 0)
      }
      #expect(driver.disk.volatileWrites == 4)
      let after = try cut(driver, loss)
      let found = (0..<8).map { after[$0 * 512] }
      for sector in 0..<8 {
        let bytes = after[sector * 512..<sector * 512 + 512]
        #expect(bytes.allSatisfy { $0 == bytes.first }, "sectors are whole: \(loss)")
      }
      switch loss {
      case .losesAll: #expect(found == Array(repeating: 1, count: 8))
      case .losesNothing: #expect(found == Array(repeating: 5, count: 8))
      case .keepsPrefix, .keepsSome: #expect(Set(found).count == 1 && (1...5).contains(found[0]))
      case .tears: #expect(found.allSatisfy { (1...5).contains($0) })
      }
      #expect(after[(8 * 512)...].allSatisfy { $0 == 0 })
      seen.insert(found)
      let again = try self.driver()
      for value in 1...5 as ClosedRange<UInt8> {
        #expect(again.write(fill(value, 8), sector: 0) == 0)
        if value == 1 { #expect(again.perform(.flush)?.status == 0) }
      }
      #expect(try cut(again, loss) == after, "the same seed, the same loss")
    }
    #expect(seen.count > 8, "the policies differ")
    #expect(seen.contains { Set($0).count > 1 }, "torn ones too")
  }

  @Test("row 106: with writeback 0, or without FLUSH negotiated, nothing that completed is lost")
  func writeThrough() throws {
    for loss in Self.losses {
      let switched = try driver()
      switched.write(0x2000 + 32, 1, 0)
      #expect(switched.write(fill(7, 4), sector: 3) == 0)
      #expect(switched.disk.volatileWrites == 0)
      #expect(try cut(switched, loss)[(3 * 512)...].prefix(4 * 512) == fill(7, 4)[...])
      let plain = try driver()
      plain.rings = []
      plain.start(without: [.flush, .configWriteCache])
      #expect(plain.write(fill(7, 4), sector: 3) == 0)
      #expect(try cut(plain, loss)[(3 * 512)...].prefix(4 * 512) == fill(7, 4)[...])
    }
  }

  @Test("row 107: a flush covers discards, zeroes and erases too; before it they can be lost")
  func ranges() throws {
    for type in [RequestType.writeZeroes, .secureErase, .discard] {
      for flushed in [false, true] {
        let driver = try driver()
        #expect(driver.write(fill(9, 8), sector: 0) == 0)
        #expect(driver.perform(.flush)?.status == 0)
        let range = driver.allocate(16)
        driver.store(range, RangeSegment(sector: 2, sectorCount: 4, flags: 0))
        #expect(driver.perform(type, 0, [.out(driver.address(range), 16)])?.status == 0)
        if flushed { #expect(driver.perform(.flush)?.status == 0) }
        let after = try cut(driver, .losesAll)
        #expect(after[2 * 512] == (flushed ? 0 : 9), "\(type)")
        #expect(after[512] == 9 && after[6 * 512] == 9)
      }
    }
  }

  @Test("T63: cut at each step of a write and a flush, every loss leaves what the oracle allows")
  func eachStep() throws {
    for loss in Self.losses {
      for steps in 0...10 {
        let driver = try driver { $0.mode = .stepped }
        var oracle = DurabilityOracle(fill(0, Self.sectors))
        let bytes = RequestTests.pattern(4 * 512)
        let data = driver.address(driver.allocate(bytes.count, 512))
        driver.fill(data, bytes)
        let write = driver.request(.write, 4, [.out(data, bytes.count)])
        let id = oracle.submitWrite(at: 4 * 512, bytes)
        driver.submit(driver.chain(write.pieces))
        var left = steps
        func advance(_ handle: RequestHandle?) throws -> Bool {
          guard let handle else { return false }
          for step in [driver.disk.transfer, driver.disk.writeStatus] {
            guard left > 0 else { return false }
            left -= 1
            try step(handle)
          }
          guard left > 0 else { return false }
          left -= 1
          try driver.disk.pushUsed(handle)
          return true
        }
        if try advance(driver.disk.fetch(queue: 0)) {
          oracle.complete(id)
          let flush = oracle.submitFlush()
          driver.submit(driver.chain(driver.request(.flush, 0, []).pieces))
          if try advance(driver.disk.fetch(queue: 0)) { oracle.completeFlush(flush) }
        }
        try driver.disk.cutPower(loss)
        let contents = try contents(of: driver)
        let illegal = oracle.firstIllegal(in: contents)
        #expect(illegal == nil, "\(loss) after \(steps) steps: \(illegal?.description ?? "")")
        if steps >= 6 { #expect(Array(contents[(4 * 512)..<(8 * 512)]) == bytes) }
      }
    }
  }

  /// What a stepped disk holds, read after a power cut.
  private func contents(of driver: MiniDriver) throws -> [UInt8] {
    driver.rings = []
    driver.start()
    let area = driver.address(driver.allocate(Self.sectors * 512, 512))
    driver.submit(driver.chain(driver.request(.read, 0, [.into(area, Self.sectors * 512)]).pieces))
    driver.disk.serve(queue: 0)
    #expect(driver.used()?.length == UInt32(Self.sectors * 512 + 1))
    return driver.bytes(area, Self.sectors * 512)
  }

  @Test("random writes and flushes, cut anywhere: the oracle allows what is left")
  func random() throws {
    var lost = 0
    for seed in 1...60 as ClosedRange<UInt64> {
      let driver = try driver()
      var random = Random(seed: seed)
      var oracle = DurabilityOracle(fill(0, Self.sectors))
      for step in 0..<random.below(40) {
        if random.below(5) == 0 {
          let flush = oracle.submitFlush()
          #expect(driver.perform(.flush)?.status == 0)
          oracle.completeFlush(flush)
          continue
        }
        let count = 1 + random.below(8)
        let sector = random.below(Self.sectors - count)
        let bytes = fill(UInt8(truncatingIfNeeded: step &* 7 &+ 1), count)
        let id = oracle.submitWrite(at: UInt64(sector * 512), bytes)
        #expect(driver.write(bytes, sector: UInt64(sector)) == 0)
        oracle.complete(id)
      }
      if driver.disk.volatileWrites > 0 { lost += 1 }
      let loss = Self.losses[random.below(Self.losses.count)]
      let illegal = oracle.firstIllegal(in: try cut(driver, loss))
      #expect(illegal == nil, "seed \(seed) \(loss): \(illegal?.description ?? "")")
    }
    #expect(lost > 20, "there was something to lose")
  }

  @Test("the oracle finds a flush that did nothing, a lost write, a corrupted and an old sector")
  func defects() throws {
    for action in [FaultAction.lose, .corrupt(mask: 1)] {
      for type in [RequestType.flush, .write] {
        if type == .flush, action != .lose { continue }
        let driver = try driver { $0.faults = [FaultRule(action, operations: [type])] }
        var oracle = DurabilityOracle(fill(0, Self.sectors))
        let id = oracle.submitWrite(at: 512, fill(3, 2))
        #expect(driver.write(fill(3, 2), sector: 1) == 0)
        oracle.complete(id)
        let flush = oracle.submitFlush()
        #expect(driver.perform(.flush)?.status == 0)
        oracle.completeFlush(flush)
        let illegal = oracle.firstIllegal(in: try cut(driver, .losesAll))
        #expect(illegal?.sector == 1, "\(action) \(type)")
        #expect(illegal?.description.contains("stable") == true)
      }
    }
  }

  @Test("the oracle's rules, one by one")
  func rules() {
    let zero = fill(0, 2)
    var oracle = DurabilityOracle(zero)
    func allows(_ oracle: DurabilityOracle, _ first: UInt8, _ second: UInt8) -> Bool {
      oracle.firstIllegal(in: fill(first, 1) + fill(second, 1)) == nil
    }
    let one = oracle.submitWrite(at: 0, fill(1, 2))
    #expect(allows(oracle, 1, 0) && allows(oracle, 0, 1), "under way: in part")
    oracle.complete(one)
    #expect(allows(oracle, 0, 0) && allows(oracle, 1, 0), "completed, not flushed")
    let early = oracle.submitFlush()
    let two = oracle.submitWrite(at: 512, fill(2, 1))
    oracle.complete(two)
    oracle.completeFlush(early)
    #expect(!allows(oracle, 0, 1) && allows(oracle, 1, 1) && allows(oracle, 1, 2))
    #expect(!allows(oracle, 2, 1), "never written there")
    let late = oracle.submitFlush()
    oracle.completeFlush(late)
    #expect(!allows(oracle, 1, 1) && allows(oracle, 1, 2))
    let three = oracle.submitWrite(at: 0, fill(3, 1))
    let four = oracle.submitWrite(at: 0, fill(4, 1))
    oracle.complete(three, isStable: true)
    #expect(allows(oracle, 3, 2) && allows(oracle, 4, 2) && !allows(oracle, 1, 2))
    oracle.complete(four, isStable: true)
    #expect(allows(oracle, 3, 2) && allows(oracle, 4, 2), "at the same time: in any order")
  }

  @Test("a disk whose cache isn't modelled, or can't be, is refused")
  func refused() throws {
    let plain = try EmulatedDisk(.init(.memory(byteCount: 1 << 20)))
    #expect(throws: EmulatorError.self) { try plain.cutPower(.losesAll) }
    #expect(plain.volatileWrites == 0)
    var null = EmulatedDisk.Configuration(.null(byteCount: 1 << 20))
    null.modelsCache = true
    #expect(throws: EmulatorError.self) { _ = try EmulatedDisk(null) }
    var zoned = EmulatedDisk.Configuration(.memory(byteCount: 1 << 26))
    zoned.modelsCache = true
    zoned.zones = .hostManaged
    #expect(throws: EmulatorError.self) { _ = try EmulatedDisk(zoned) }
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
