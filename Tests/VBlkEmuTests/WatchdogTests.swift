import Glibc
import Synchronization
import Testing
import VBlkEmu
import Virtio

/// The watchdog: named by row and clause, for exactly what was broken, and silent otherwise.
@Suite("watchdog") struct WatchdogTests {
  /// What the watchdog of a disk said.
  final class Heard: Sendable {
    private let all = Mutex<[DriverBreach]>([])
    func add(_ breach: DriverBreach) { all.withLock { $0.append(breach) } }
    var breaches: [DriverBreach] { all.withLock { $0 } }
    var rows: [Int] { Set(breaches.map(\.rule.row)).sorted() }
  }

  private func watched(
    _ configuration: EmulatedDisk.Configuration
  ) throws -> (driver: MiniDriver, heard: Heard) {
    let heard = Heard()
    return (try MiniDriver(EmulatedDisk(configuration) { heard.add($0) }), heard)
  }

  @Test("every rule has a clause, and no two the same text for a row")
  func rules() {
    #expect(Set(DriverRule.all).count == DriverRule.all.count)
    #expect(DriverRule.all.allSatisfy { (1...67).contains($0.row) && !$0.clause.isEmpty })
    #expect(Set(WrongDriver.all.map(\.row)) == Set(DriverRule.all.map(\.row)))
  }

  @Test("each wrong driver is named for its row, and for no other", arguments: WrongDriver.all)
  func named(wrong: WrongDriver) throws {
    let (driver, heard) = try watched(wrong.configuration)
    try wrong.run(driver)
    #expect(heard.rows == [wrong.row], "\(heard.breaches)")
    #expect(driver.disk.breaches == Array(heard.breaches.prefix(256)))
  }

  @Test("a driver by the book is not named", arguments: [false, true], [false, true])
  func silent(packed: Bool, threaded: Bool) throws {
    let heard = try runByTheBook(packed: packed, threaded: threaded)
    #expect(heard.breaches.isEmpty, "\(heard.breaches)")
  }

  @Test("without the option nothing is named")
  func off() throws {
    var configuration = WrongDriver.all[0].configuration
    configuration.watchdog = false
    let (driver, heard) = try watched(configuration)
    try WrongDriver.all[0].run(driver)
    #expect(heard.breaches.isEmpty && driver.disk.breaches.isEmpty)
  }

  @Test("a kick that was under way when the device was reset is excused, once")
  func excused() throws {
    let (driver, heard) = try watched(WrongDriver.all[0].configuration)
    driver.start()
    driver.status = []
    driver.ring()
    #expect(heard.breaches.isEmpty, "\(heard.breaches)")
    driver.ring()
    #expect(heard.rows == [17])
  }

  /// The table of `make watchdog`.
  @Test("table", .enabled(if: getenv("VBLK_TABLES") != nil))
  func table() throws {
    var named = 0
    for wrong in WrongDriver.all {
      let (driver, heard) = try watched(wrong.configuration)
      try wrong.run(driver)
      let rule = heard.breaches.first?.rule
      if heard.rows == [wrong.row] { named += 1 }
      let rows = heard.rows.map { "\($0)" }.joined(separator: ", ")
      let ring = wrong.packed ? "packed" : "split"
      print("| \(wrong.row) | \(wrong.how) (\(ring)) | \(rows) | \(rule?.clause ?? "-") |")
    }
    var accused = 0
    for packed in [false, true] {
      for threaded in [false, true] {
        accused += try runByTheBook(packed: packed, threaded: threaded).breaches.count
      }
    }
    let broken = WrongDriver.all.count
    print("watchdog: \(broken) rows broken, \(named) named, \(accused) false")
    #expect(named == broken && accused == 0)
  }

  /// Every request, direct and indirect, over several turns of the ring, and a reset between.
  private func runByTheBook(packed: Bool, threaded: Bool) throws -> Heard {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.watchdog = true
    configuration.sizeMax = 65_536
    if threaded { configuration.mode = .threaded }
    if packed { configuration.extra.insert(.ringPacked) }
    let (driver, heard) = try watched(configuration)
    for _ in 0..<2 {
      driver.start(size: 16)
      for turn in 0..<40 {
        let shapes = [
          driver.readPieces(UInt64(turn), 4096),
          driver.request(.write, 8, [.out(driver.address(driver.allocate(512)), 512)]).pieces,
          driver.request(.flush, 0, []).pieces,
          driver.request(.getID, 0, [.into(driver.address(driver.allocate(20)), 20)]).pieces,
          driver.rangePieces(.discard, [(0, 8, 0), (8, 8, 0)]),
          driver.rangePieces(.writeZeroes, [(16, 8, 1)]),
        ]
        for pieces in shapes {
          driver.show(pieces, indirect: turn % 2 == 1)
          guard driver.takeUsed() else {
            Issue.record("no answer in turn \(turn)")
            return heard
          }
        }
      }
    }
    return heard
  }
}

extension MiniDriver {
  /// Waits for the next used element; false after a bounded time.
  func takeUsed() -> Bool {
    for _ in 0..<10_000_000 {
      if isPacked ? usedPacked() != nil : used() != nil { return true }
    }
    return false
  }
}
