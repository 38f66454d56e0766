/// The scenarios that are walked, by name.
public enum Scenarios {
  /// One queue, a dio of `bios`, all submitted at first: facts of combinatorics, so that a count
  /// that
  /// differs is a step that was lost.
  public static func bios(_ count: Int) -> Scenario {
    Scenario("bios-\(count)", [.read(blocks: count)])
  }

  /// The same with data and status apart from the used entry.
  public static func apart(_ count: Int) -> Scenario {
    bios(count).with {
      $0.name = "apart-\(count)"
      $0.deviceSteps = .apart
    }
  }

  /// Every scenario that `make explore` walks until its state space is closed.
  public static let explored: [Scenario] = [
    bios(4).with {
      $0.name = "statuses"
      $0.statuses = 3
      $0.deviceSteps = .apart
    },
    Scenario("cursor", [.read(blocks: 6)]).with {
      $0.depth = 2
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario("ring-full", [.read(blocks: 1), .read(blocks: 3), .read(blocks: 1)]).with {
      $0.depth = 2
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario("one-slot", [.write(blocks: 2, isDurable: true), .read(blocks: 1)]).with {
      $0.depth = 1
      $0.client = .stepped
      $0.statuses = 3
      $0.resets = 1
    },
    Scenario("flush-stage", [.write(blocks: 2, isDurable: true), .flush, .read(blocks: 1)]).with {
      $0.depth = 4
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario("kept", [.read(blocks: 1), .read(blocks: 1), .read(blocks: 3)]).with {
      $0.depth = 2
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario(
      "kept-durable", [.read(blocks: 1), .write(blocks: 2, isDurable: true), .read(blocks: 1)]
    ).with {
      $0.depth = 2
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario("locks", [.partial, .partial, .read(blocks: 1)]).with {
      $0.depth = 4
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 1
    },
    Scenario(
      "mixed", [.read(blocks: 2), .write(blocks: 1, isDurable: true), .partial, .read(blocks: 1)]
    ).with {
      $0.depth = 4
      $0.client = .stepped
      $0.statuses = 2
    },
    Scenario("two-resets", [.read(blocks: 2), .read(blocks: 2)]).with {
      $0.depth = 4
      $0.client = .stepped
      $0.statuses = 2
      $0.resets = 2
    },
  ]

  /// Larger ones, for random schedules.
  public static let sampled: [Scenario] = [
    Scenario(
      "crowd",
      [
        .read(blocks: 7), .partial, .write(blocks: 3, isDurable: true), .read(blocks: 5),
        .partial, .flush, .read(blocks: 1), .write(blocks: 2, isDurable: false),
      ]
    ).with {
      $0.depth = 4
      $0.client = .stepped
      $0.deviceSteps = .apart
      $0.statuses = 3
      $0.resets = 2
    }
  ]

  /// Whether every schedule of a scenario is walked, not every state: their counts are known.
  public static func isCounted(_ scenario: Scenario) -> Bool {
    scenario.name.hasPrefix("bios-") || scenario.name.hasPrefix("apart-")
  }

  /// All that have a name on the command line.
  public static var all: [Scenario] { (1...4).map(bios) + [apart(4)] + explored + sampled }
}
