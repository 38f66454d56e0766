/// A schedule: the choices made, one small number each. A run asks ``choose(_:)`` wherever there
/// are
/// several ways on; the same numbers give the same run.
///
/// Depth first, a run is replayed from a prefix, and then the last choice that can still grow is
/// increased: every schedule once.
public struct Schedule: CustomStringConvertible {
  /// The choices.
  public private(set) var path: [Int]
  private var widths: [Int] = []
  private var position = 0
  /// Choices that were given and not made here.
  private var given: Int
  /// A given choice was none of the ways there were: the schedule is another scenario's.
  public private(set) var isForeign = false
  /// What decides beyond those; nil takes the first way.
  private var priorities: Priorities?

  /// The first schedule of all.
  public init() { self.init([]) }

  /// A schedule that begins with these choices.
  public init(_ path: [Int]) {
    self.path = path
    given = path.count
  }

  /// Reads a schedule as it is printed: numbers with spaces between; nil where it is none.
  public init?(_ text: String) {
    let words = text.split { $0 == " " || $0 == "," }
    let numbers = words.compactMap { Int($0) }
    guard numbers.count == words.count, numbers.allSatisfy({ $0 >= 0 }) else { return nil }
    self.init(numbers)
  }

  /// A random schedule by priorities: see ``Priorities``.
  init(_ priorities: Priorities) {
    self.init()
    self.priorities = priorities
  }

  /// Whether choices are being made that no earlier run has made.
  var isBeyondPrefix: Bool { position >= given }

  /// How many choices the run has made.
  public var length: Int { position }

  /// One of `count` ways on; 0 where there is only one.
  public mutating func choose(_ count: Int) -> Int { choose(count) { $0 } }

  /// One of `count` ways on, of which each is a step of an actor.
  ///
  /// - Parameters:
  ///   - count: How many ways there are, at least 1.
  ///   - actor: Who takes the step, by the way's number.
  /// - Returns: The way to take.
  public mutating func choose(_ count: Int, actor: (Int) -> Int) -> Int {
    precondition(count > 0, "there is a way on")
    defer { position += 1 }
    if position < path.count {
      if path[position] >= count { isForeign = true }
      if position == widths.count { widths.append(count) } else { widths[position] = count }
      return min(path[position], count - 1)
    }
    let choice = priorities?.highest((0..<count).map(actor)) ?? 0
    path.append(choice)
    widths.append(count)
    return choice
  }

  /// Goes back to the beginning, to run the same choices again.
  public mutating func rewind() { position = 0 }

  /// Moves on to the next schedule; false when all were walked.
  public mutating func advance() -> Bool {
    path.removeLast(path.count - position)
    widths.removeLast(widths.count - position)
    position = 0
    while let last = path.last, let width = widths.last {
      if last + 1 < width {
        path[path.count - 1] = last + 1
        given = path.count
        return true
      }
      path.removeLast()
      widths.removeLast()
    }
    return false
  }

  /// The choices, as ``init(_:)-(String)`` reads them.
  public var description: String { path.map(String.init).joined(separator: " ") }
}

/// A random scheduler after PCT (Burckhardt and others, 2010): each actor has a priority, the
/// highest
/// of those that can go on goes on, and at a few random steps the priorities change. A bug that
/// needs
/// d changes is found with a probability that has a lower bound.
struct Priorities {
  private var generator: SplitMix
  private var priority: [Int: UInt64] = [:]
  private var changes: Set<Int>
  private var step = 0

  init(seed: UInt64, steps: Int, changes count: Int) {
    generator = SplitMix(seed: seed)
    changes = []
    for _ in 0..<count { changes.insert(Int(generator.next() % UInt64(max(1, steps)))) }
  }

  mutating func highest(_ actors: [Int]) -> Int {
    for actor in actors where priority[actor] == nil { priority[actor] = generator.next() >> 1 }
    var best = 0
    for index in actors.indices where value(actors[index]) > value(actors[best]) { best = index }
    if changes.contains(step) { priority[actors[best]] = generator.next() >> 32 }
    step += 1
    // Ways of one actor, as statuses are, have one priority: any of them.
    let same = actors.indices.filter { actors[$0] == actors[best] }
    return same[Int(generator.next() % UInt64(same.count))]
  }

  private func value(_ actor: Int) -> UInt64 { priority[actor] ?? 0 }
}

/// A small generator whose seed is printed: SplitMix64.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
