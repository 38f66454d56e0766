import Testing
import VBlkSim

/// Every interleaving of two owners, or of a client and a loop, with their devices. The counts are
/// those of closed forms; one that differs is a step that was lost.
@Suite("Schedules, several threads")
struct ThreadScheduleTests {
  /// Walks every schedule of a scenario, which must show no violation.
  ///
  /// - Returns: How many there are.
  private func count(_ scenario: Scenario, limit: Int = 1_000_000) throws -> Int {
    let report = try Explorer(try scenario.makeWorld()).walk(limit: limit)
    note(report, scenario)
    #expect(report.isClosed, "\(scenario.name) has more than \(limit) schedules")
    return report.schedules
  }

  private func note(_ report: Explorer.Report, _ scenario: Scenario) {
    if let violation = report.violation {
      Issue.record(
        "\(violation.message); vblk simulate \(scenario.name) --schedule '\(violation.schedule)'")
    }
  }

  private func factorial(_ count: Int) -> Int { (1...count).reduce(1, *) }

  private func choose(_ count: Int, _ taken: Int) -> Int {
    (0..<taken).reduce(1) { $0 * (count - $1) / ($1 + 1) }
  }

  /// Orders of a queue's completions and reaps: n! Catalan(n).
  private func own(_ bios: Int) -> Int {
    factorial(bios) * choose(2 * bios, bios) / (bios + 1)
  }

  // Home's steps after the push are drop, kick, and for each bio completion and reap: 2a + 2. The
  // loop's are begin, kick, and the same: 2b + 2. Both run freely against each other, for the last
  // drop stands at the end of all. Where the end of a part is cut between its error and its drop,
  // each side has one step more.
  //
  // A textbook's count gives each bio a reference of the shared count, and each side a reference
  // of its own that it drops while completions come in: 280 and 4 200, and fine 1 008 and 36 036.
  // Here a part has one reference whatever its bios, its last bio takes over the submitter's, and
  // home drops its own before it kicks, so that fewer orders exist.
  @Test(
    "T02, T03, T05: every order of a spread dio", arguments: [(1, 1), (1, 2), (2, 1)],
    [false, true])
  func spread(bios: (home: Int, other: Int), isFine: Bool) throws {
    let (a, b) = bios
    let cut = isFine ? 1 : 0
    let expected = choose(2 * a + 2 * b + 4 + 2 * cut, 2 * a + 2 + cut) * own(a) * own(b)
    let scenario = isFine ? Scenarios.fine(a, b) : Scenarios.spread(a, b)
    #expect(try count(scenario) == expected)
    // Each bio ends in one of two ways.
    if !isFine {
      #expect(try count(scenario.with { $0.statuses = 2 }) == expected << (a + b))
    }
  }

  @Test("T06, T07: every order of a spread dio, with both statuses, its parts' ends cut")
  func fineStatuses() throws {
    let scenario = Scenarios.fine(1, 1).with { $0.statuses = 2 }
    #expect(try count(scenario) == choose(10, 5) * 4)
  }

  @Test("T15: every order of a port's client, its loop and the device", arguments: 1...3)
  func port(count operations: Int) throws {
    #expect(try count(Scenarios.port(operations)) == [1, 52, 11_061][operations - 1])
  }

  @Test("the states of a port are those of its operations' five steps", arguments: 1...4)
  func portStates(count operations: Int) throws {
    let report = try Explorer(try Scenarios.port(operations).makeWorld()).walk(hashing: true)
    note(report, Scenarios.port(operations))
    #expect(report.isClosed)
    // The first state, before any step, is not counted.
    #expect(report.states >= choose(operations + 5, operations) - 1)
  }

  @Test(
    "T38: states of spread dios with FLUSH, faults, full rings and resets",
    arguments: Scenarios.spreads)
  func spreads(scenario: Scenario) throws {
    note(try Explorer(try scenario.makeWorld()).walk(limit: 500, hashing: true), scenario)
  }

  @Test(
    "T38: states of ports with FLUSH, faults, full rings and resets",
    arguments: Scenarios.ports)
  func ports(scenario: Scenario) throws {
    note(try Explorer(try scenario.makeWorld()).walk(limit: 500, hashing: true), scenario)
  }

  @Test(
    "random schedules by priorities",
    arguments: Scenarios.sampled.filter { $0.shape != .queue })
  func sampled(scenario: Scenario) throws {
    note(try Explorer(try scenario.makeWorld()).sample(200, seed: 1), scenario)
  }
}
