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

  /// A spread read, `home` bios at home and `other` with the other member.
  public static func spread(_ home: Int, _ other: Int) -> Scenario {
    Scenario(
      "orders-\(home)+\(other)",
      [.spread(home: home, other: other, isWrite: false, isDurable: false)]
    ).with {
      $0.shape = .spread
      // A group halves what lies on one device, and the home has no less.
      $0.devices = home == other || home == other + 1 ? 1 : 2
    }
  }

  /// The same with other threads acting inside the end of a part.
  public static func fine(_ home: Int, _ other: Int) -> Scenario {
    spread(home, other).with {
      $0.name = "fine-\(home)+\(other)"
      $0.isFine = true
    }
  }

  /// A port, and reads of one bio each; a loop's take and its kick are one step.
  public static func port(_ count: Int) -> Scenario {
    Scenario("port-\(count)", Array(repeating: .read(blocks: 1), count: count)).with {
      $0.shape = .port
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

  /// Spread operations, walked state by state.
  public static let spreads: [Scenario] = [
    fine(2, 2).with {
      $0.name = "spread-2+2"
      $0.statuses = 2
    },
    fine(2, 1).with {
      $0.name = "spread-faults"
      $0.statuses = 2
      $0.resets = 1
    },
    fine(3, 3).with { $0.name = "spread-3+3" },
    spread(3, 3).with {
      $0.name = "spread-statuses"
      $0.statuses = 2
      $0.resets = 1
    },
    spread(3, 3).with {
      $0.name = "spread-cursor"
      $0.depth = 2
      $0.statuses = 2
      $0.resets = 1
    },
    spreads(
      "spread-durable", [.spread(home: 1, other: 1, isWrite: true, isDurable: true)]
    ).with {
      $0.isFine = true
      $0.resets = 1
    },
    spreads(
      "spread-durable-devices", [.spread(home: 1, other: 2, isWrite: true, isDurable: true)]
    ).with {
      $0.devices = 2
      $0.resets = 1
    },
    spreads(
      "spread-two",
      [
        .spread(home: 1, other: 1, isWrite: false, isDurable: false),
        .spread(home: 1, other: 1, isWrite: true, isDurable: true),
      ]),
    spreads(
      "spread-two-full",
      [
        .spread(home: 2, other: 1, isWrite: false, isDurable: false),
        .spread(home: 1, other: 1, isWrite: false, isDurable: false),
      ]
    ).with { $0.depth = 2 },
    spreads(
      "spread-two-resets", [.spread(home: 1, other: 1, isWrite: false, isDurable: false)]
    ).with {
      $0.isFine = true
      $0.resets = 2
    },
  ]

  private static func spreads(_ name: String, _ requests: [Scenario.Request]) -> Scenario {
    Scenario(name, requests).with {
      $0.shape = .spread
      $0.statuses = 2
    }
  }

  /// Ports of four operations, walked state by state.
  public static let ports: [Scenario] = [
    ports("port-faults", [.read(blocks: 1), .read(blocks: 1), .read(blocks: 1), .read(blocks: 1)]),
    ports("port-full", [.read(blocks: 1), .read(blocks: 1), .read(blocks: 1), .read(blocks: 1)])
      .with { $0.depth = 2 },
    ports("port-cursor", [.read(blocks: 3), .read(blocks: 1), .read(blocks: 1), .flush]).with {
      $0.depth = 2
    },
    ports(
      "port-flush",
      [
        .write(blocks: 1, isDurable: true), .read(blocks: 1), .write(blocks: 2, isDurable: true),
        .flush,
      ]
    ).with { $0.depth = 2 },
    ports("port-locks", [.partial, .partial, .read(blocks: 1), .read(blocks: 1)]),
    ports("port-one-slot", [.write(blocks: 2, isDurable: true), .read(blocks: 1)]).with {
      $0.depth = 1
      $0.resets = 2
    },
  ]

  private static func ports(_ name: String, _ requests: [Scenario.Request]) -> Scenario {
    Scenario(name, requests).with {
      $0.shape = .port
      $0.client = .stepped
      $0.depth = 4
      $0.statuses = 2
      $0.resets = 1
    }
  }

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
    },
    spreads(
      "spread-crowd",
      [
        .spread(home: 4, other: 4, isWrite: false, isDurable: false),
        .spread(home: 3, other: 3, isWrite: true, isDurable: true),
        .spread(home: 2, other: 2, isWrite: false, isDurable: false),
      ]
    ).with {
      $0.depth = 4
      $0.statuses = 3
      $0.resets = 2
      $0.isFine = true
    },
    ports(
      "port-crowd",
      [.read(blocks: 5), .partial, .write(blocks: 3, isDurable: true), .partial]
    ).with {
      $0.statuses = 3
      $0.resets = 2
    },
  ]

  /// Whether every schedule of a scenario is walked, not every state: their counts are known.
  public static func isCounted(_ scenario: Scenario) -> Bool { counted.contains(scenario.name) }

  private static let counted = Set(counts.map(\.name))

  /// The counts: all schedules of each.
  public static let counts: [Scenario] =
    (1...4).map(bios) + [apart(4)] + [spread(1, 1), spread(1, 2), spread(2, 1), spread(2, 2)]
    + [fine(1, 1), fine(1, 2), fine(2, 1), fine(2, 2)] + (1...4).map(port)

  /// All that have a name on the command line.
  public static var all: [Scenario] { counts + explored + spreads + ports + sampled }
}
