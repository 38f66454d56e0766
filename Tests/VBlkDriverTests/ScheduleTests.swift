import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A schedule: the choices made, one small number each. A run is replayed from a prefix, and the
/// last choice that can still grow is increased: every schedule once, depth first.
struct Schedule: CustomStringConvertible {
  private(set) var path: [Int] = []
  private var widths: [Int] = []
  private var position = 0

  /// One of `count` ways on; 0 where there is only one.
  mutating func choose(_ count: Int) -> Int {
    defer { position += 1 }
    if position < path.count {
      widths[position] = count
      return path[position]
    }
    path.append(0)
    widths.append(count)
    return 0
  }

  /// Moves on to the next schedule; false when all were walked.
  mutating func advance() -> Bool {
    position = 0
    while let last = path.last, let width = widths.last {
      if last + 1 < width {
        path[path.count - 1] = last + 1
        return true
      }
      path.removeLast()
      widths.removeLast()
    }
    return false
  }

  var description: String { path.map(String.init).joined(separator: " ") }
}

/// Every interleaving of the device's completions with the owner's reaps (facts §3.8 (a)): one
/// queue, a dio of N bios, the counts proved by closed forms.
@Suite("Schedules, one queue", .onEachRing)
struct ScheduleTests {
  /// What may happen beside completions and reaps.
  enum Extra { case nothing, reset }

  private func bench() throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
    } options: {
      $0.depth = 8
    }
  }

  @Test("T05 all-orders: N! Catalan(N) schedules, each ends the dio once", arguments: 1...4)
  func allOrders(bios: Int) throws {
    let walked = try walk(bios: bios, failing: 0, extra: .nothing)
    #expect(walked == [1, 4, 30, 336][bios - 1])
  }

  @Test("T05 all-orders with both statuses of each bio", arguments: 1...4)
  func allStatuses(bios: Int) throws {
    var walked = 0
    for failing in 0..<(1 << bios) {
      walked += try walk(bios: bios, failing: failing, extra: .nothing)
    }
    #expect(walked == [2, 16, 240, 5376][bios - 1])
  }

  @Test("T05 all-orders, T38 with a reset at every step", arguments: 1...4)
  func resetAnywhere(bios: Int) throws {
    let walked = try walk(bios: bios, failing: 0, extra: .reset)
    #expect(walked == [3, 15, 121, 1413][bios - 1])
  }

  /// Walks every schedule of one dio.
  ///
  /// - Parameters:
  ///   - bios: Bios of the dio.
  ///   - failing: Bit i: the device fails bio i.
  ///   - extra: What else may happen.
  /// - Returns: How many schedules there are.
  /// - Throws: What opening the device or stepping it throws.
  private func walk(bios: Int, failing: Int, extra: Extra) throws -> Int {
    let bench = try bench()
    var rules: [FaultRule] = []
    for bio in 0..<UInt64(bios) where failing >> Int(bio) & 1 == 1 {
      rules.append(FaultRule(.status(1), sectors: bio..<bio + 1))
    }
    bench.disk.setFaults(rules)
    var queue = try bench.device.makeQueue()
    var schedule = Schedule()
    var walked = 0
    repeat {
      let problem = try run(bench, &queue, &schedule, bios: bios, failing: failing, extra: extra)
      if let problem {
        Issue.record("\(problem); \(bios) bios, failing \(failing), schedule \(schedule)")
        return walked
      }
      walked += 1
    } while schedule.advance() && walked < 100_000
    return walked
  }

  /// One schedule; what was wrong, or nil.
  private func run(
    _ bench: Bench, _ queue: inout Queue, _ schedule: inout Schedule, bios: Int, failing: Int,
    extra: Extra
  ) throws -> String? {
    guard
      case .queued = queue.submitRead(at: 0, into: try bench.buffer(512 * bios), tag: 1)
    else { return "not queued" }
    queue.kick()
    var outstanding = bench.disk.fetchAll()
    var completed = 0
    var wasReset = false
    while completed > 0 || !outstanding.isEmpty || extra == .reset {
      // The ways on: each outstanding bio completes, one is reaped, or the device is reset.
      let reaps = completed > 0 ? 1 : 0
      let ends = extra == .reset ? 1 : 0
      let choice = schedule.choose(outstanding.count + reaps + ends)
      if choice < outstanding.count {
        try bench.disk.complete(outstanding.remove(at: choice))
        completed += 1
      } else if choice < outstanding.count + reaps {
        guard queue.lookAgain() else { return "a completion was not seen" }
        queue.reapOne()
        completed -= 1
        if queue.state.keptCount > 0 || outstanding.isEmpty && completed == 0 { break }
      } else {
        bench.device.reset()
        wasReset = true
        break
      }
    }
    let done = queue.nextSummary(2)
    var expected: [VBlkError.Code?] = [failing != 0 ? .ioError : wasReset ? .reset : nil]
    // What the device had completed and we had seen before the reset may still be reaped.
    if wasReset, outstanding.isEmpty { expected.append(nil) }
    guard let done, done.hasBuffer, expected.contains(done.code) else {
      return "ended as \(done as Any)"
    }
    if queue.nextSummary() != nil { return "ended twice" }
    return queue.isAtRest ? nil : "not at rest"
  }
}
