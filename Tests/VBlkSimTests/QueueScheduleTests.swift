import Testing
import VBlkSim

/// Every interleaving of the device's completions with the owner's reaps: one queue, a dio of N
/// bios. The counts are those of closed forms or of an independent program; one that differs is a
/// step that was lost.
@Suite("Schedules, one queue")
struct QueueScheduleTests {
  /// Walks every schedule of a scenario, which must show no violation.
  ///
  /// - Returns: How many there are.
  private func count(_ scenario: Scenario, limit: Int = 1_000_000) throws -> Int {
    let report = try Explorer(try QueueWorld(scenario)).walk(limit: limit)
    if let violation = report.violation {
      Issue.record(
        "\(violation.message); vblk simulate \(scenario.name) --schedule '\(violation.schedule)'")
    }
    #expect(report.isClosed, "\(scenario.name) has more than \(limit) schedules")
    return report.schedules
  }

  private func bios(_ count: Int, _ ring: Scenario.Ring) -> Scenario {
    Scenarios.bios(count).with { $0.ring = ring }
  }

  @Test(
    "T05 all-orders: N! Catalan(N) schedules, each ends the dio once",
    arguments: 1...4, Scenario.Ring.allCases)
  func pollOfOne(count bios: Int, ring: Scenario.Ring) throws {
    let walked = try count(self.bios(bios, ring))
    #expect(walked == [1, 4, 30, 336][bios - 1])
  }

  @Test(
    "T05 all-orders: a poll takes all that is there: N! 2^(N-1)",
    arguments: 1...4, Scenario.Ring.allCases)
  func pollOfAll(count bios: Int, ring: Scenario.Ring) throws {
    let walked = try count(self.bios(bios, ring).with { $0.reaps = .all })
    #expect(walked == [1, 4, 24, 192][bios - 1])
  }

  @Test(
    "T05 all-orders with both statuses of each bio",
    arguments: 1...4, Scenario.Ring.allCases)
  func statuses(count bios: Int, ring: Scenario.Ring) throws {
    let walked = try count(self.bios(bios, ring).with { $0.statuses = 2 })
    #expect(walked == [2, 16, 240, 5376][bios - 1])
  }

  @Test(
    "T05 all-orders, T38 with a reset at every step",
    arguments: 1...4, Scenario.Ring.allCases)
  func resetAnywhere(count bios: Int, ring: Scenario.Ring) throws {
    let walked = try count(self.bios(bios, ring).with { $0.resets = 1 })
    #expect(walked == [3, 15, 121, 1413][bios - 1])
  }

  @Test("T05 all-orders: data and status apart from the used entry", arguments: 1...3)
  func apart(count bios: Int) throws {
    let walked = try count(self.bios(bios, .split).with { $0.deviceSteps = .apart })
    #expect(walked == [1, 14, 636][bios - 1])
  }

  @Test(
    "T19 a ring of fewer slots than bios, refilled from the cursor",
    arguments: [(3, 1, 1, 1), (3, 2, 12, 10), (4, 2, 36, 28), (4, 3, 168, 102)])
  func refill(bios: Int, slots: Int, polledOne: Int, polledAll: Int) throws {
    // A split ring has a power of two of slots, a packed one any number.
    let scenario = self.bios(bios, .packedIndirect).with { $0.depth = slots }
    #expect(try count(scenario) == polledOne)
    #expect(try count(scenario.with { $0.reaps = .all }) == polledAll)
  }

  @Test(
    "every state of cursors, full rings, FLUSH, kept Completions, locks and resets",
    arguments: Scenarios.explored)
  func closed(scenario: Scenario) throws {
    let report = try Explorer(try QueueWorld(scenario)).walk(limit: 2000, hashing: true)
    if let violation = report.violation {
      Issue.record(
        "\(violation.message); vblk simulate \(scenario.name) --schedule '\(violation.schedule)'")
    }
  }

  @Test(
    "random schedules by priorities",
    arguments: Scenarios.sampled.filter { $0.shape == .queue })
  func sampled(scenario: Scenario) throws {
    let seed: UInt64 = 1
    let report = try Explorer(try QueueWorld(scenario)).sample(200, seed: seed)
    if let violation = report.violation {
      Issue.record(
        """
        \(violation.message); seed \(seed); \
        vblk simulate \(scenario.name) --schedule '\(violation.schedule)'
        """)
    }
  }
}
