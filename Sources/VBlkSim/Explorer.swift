/// Walks the schedules of a world.
public struct Explorer {
  /// What a walk came to.
  public struct Report: Equatable, Sendable {
    /// Schedules run to their end, or to a known state.
    public var schedules = 0
    /// Different states met, where they were hashed.
    public var states = 0
    /// Whether nothing is left to walk.
    public var isClosed = false
    /// The first violation: what was wrong, and the schedule.
    public var violation: Violation?
  }

  /// What was wrong, and the schedule that shows it.
  public struct Violation: Equatable, Sendable {
    /// The oracle's words.
    public let message: String
    /// The choices, to be replayed.
    public let schedule: String
  }

  private let world: any World

  /// An explorer of `world`.
  public init(_ world: any World) { self.world = world }

  /// Walks every schedule, depth first, until the first violation.
  ///
  /// - Parameters:
  ///   - limit: Schedules at most.
  ///   - hashing: Whether to stop a run at a state that was met before; then what is walked is
  /// every
  ///     state, and every step out of it.
  /// - Returns: The counts, and the first violation.
  /// - Throws: What the world throws.
  public func walk(limit: Int = .max, hashing: Bool = false) throws -> Report {
    var report = Report()
    var schedule = Schedule()
    var seen: Set<UInt64> = []
    while report.schedules < limit {
      let end = try world.run(&schedule) { hashing && !seen.insert($0).inserted }
      report.schedules += 1
      report.states = seen.count
      if case .violation(let message) = end {
        report.violation = Violation(message: message, schedule: schedule.description)
        return report
      }
      guard schedule.advance() else {
        report.isClosed = true
        return report
      }
    }
    return report
  }

  /// Runs random schedules by priorities, until the first violation.
  ///
  /// - Parameters:
  ///   - count: How many.
  ///   - seed: Of the first; the others follow.
  /// - Returns: The counts, and the first violation.
  /// - Throws: What the world throws.
  public func sample(_ count: Int, seed: UInt64) throws -> Report {
    var report = Report()
    var steps = 32
    for number in 0..<UInt64(count) {
      var schedule = Schedule(
        Priorities(seed: seed &+ number, steps: steps, changes: 1 + Int(number % 3)))
      let end = try world.run(&schedule) { _ in false }
      steps = max(steps, schedule.length)
      report.schedules += 1
      if case .violation(let message) = end {
        report.violation = Violation(message: message, schedule: schedule.description)
        return report
      }
    }
    return report
  }

  /// Runs one schedule.
  ///
  /// - Parameter schedule: The choices; beyond them the first way is taken.
  /// - Returns: How it ended.
  /// - Throws: What the world throws.
  public func replay(_ schedule: Schedule) throws -> RunEnd {
    var schedule = schedule
    schedule.rewind()
    return try world.run(&schedule) { _ in false }
  }
}
