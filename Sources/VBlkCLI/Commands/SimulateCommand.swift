internal import ArgumentParser
internal import VBlkSim

/// `vblk simulate`: driver, device and clients in one thread, in every order or in chosen ones.
struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Walks the interleavings of driver and device, and says what breaks.",
    discussion: """
      Without a scenario all are walked: those whose states can be closed, by hashing states, and \
      then the larger ones, by random priorities. A violation prints the command that replays it, \
      and is exit 1.
      """)

  @Argument(help: "The scenario; `list` prints their names.")
  var scenario: String?

  @Option(help: "Replays one schedule: numbers with spaces between, as printed by a violation.")
  var schedule: String?

  @Option(help: "Schedules at most of each scenario; of a random one 100,000 unless given.")
  var limit: Int?

  @Option(help: "The seed of random schedules.")
  var seed: UInt64 = 1

  func validate() throws {
    if let limit, limit <= 0 { throw ValidationError("--limit \(limit): choose 1 or more") }
    if let schedule, Schedule(schedule) == nil {
      throw ValidationError("--schedule '\(schedule)': numbers from 0 on, with spaces between")
    }
    if schedule != nil, scenario == nil {
      throw ValidationError("--schedule wants a scenario: name it first")
    }
    if let scenario, scenario != "list", find(scenario) == nil {
      throw ValidationError("no scenario \(scenario): `vblk simulate list` prints them")
    }
  }

  func run() throws {
    if scenario == "list" {
      for scenario in Scenarios.all { Terminal.line(scenario.name) }
    } else if let scenario, let chosen = find(scenario) {
      if let schedule, let path = Schedule(schedule) { return try replay(chosen, path) }
      try explore([chosen])
    } else {
      try explore(Scenarios.all)
    }
  }

  private func find(_ name: String) -> Scenario? { Scenarios.all.first { $0.name == name } }

  private func replay(_ scenario: Scenario, _ schedule: Schedule) throws {
    let end = try Explorer(try scenario.makeWorld()).replay(schedule)
    guard case .violation(let message) = end else {
      return Terminal.line("no violation: \(scenario.name), schedule \(schedule)")
    }
    throw Failure(.mismatch, "violation: \(message)")
  }

  /// Where all schedules of several threads are walked, the ring's format adds nothing.
  private func rings(of scenario: Scenario) -> [Scenario.Ring] {
    Scenarios.isCounted(scenario) && scenario.shape != .queue ? [.split] : Scenario.Ring.allCases
  }

  private func explore(_ scenarios: [Scenario]) throws {
    var schedules = 0
    var violations = 0
    // A row is shown as soon as it is known: a walk may take minutes.
    let names = ["scenario", "ring", "how", "schedules", "states", "ms", "result"]
    let widths = [22, 14, 6, 9, 9, 7, 0]
    let table = TextTable(
      zip(names, widths.indices).map { ($0, (3...5).contains($1) ? .right : .left) })
    Terminal.line(table.line(names, widths))
    for scenario in scenarios {
      for ring in rings(of: scenario) {
        let start = Clock.nanoseconds
        let report = try explore(try scenario.with { $0.ring = ring }.makeWorld(), scenario)
        schedules += report.schedules
        let isSampled = Scenarios.sampled.contains(scenario)
        let good = report.isClosed ? "closed" : isSampled ? "clean" : "clean so far"
        let row = [
          scenario.name, ring.rawValue, isSampled ? "random" : "all", "\(report.schedules)",
          "\(report.states)", "\((Clock.nanoseconds - start) / 1_000_000)",
          report.violation?.message ?? good,
        ]
        Terminal.line(table.line(row, widths))
        guard let violation = report.violation else { continue }
        violations += 1
        Terminal.line(
          "violation: \(violation.message); replay: vblk simulate \(scenario.name) "
            + "--schedule '\(violation.schedule)'")
      }
    }
    Terminal.line("explored: \(schedules) schedules, \(violations) violations")
    if violations > 0 {
      throw Failure(.mismatch, "\(violations) violations", remedy: "replay them as printed above")
    }
  }

  private func explore(
    _ world: any World, _ scenario: Scenario
  ) throws -> Explorer.Report {
    guard !Scenarios.sampled.contains(scenario) else {
      return try Explorer(world).sample(limit ?? Self.sampleCount, seed: seed)
    }
    return try Explorer(world).walk(
      limit: limit ?? .max, hashing: !Scenarios.isCounted(scenario))
  }

  /// Random schedules of each scenario and ring, where no limit is given.
  private static let sampleCount = 100_000
}
