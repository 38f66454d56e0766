import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// RING_RESET: row 41 of the driver checklist (virtio 1.2, 2.6.1 and 4.1.4.3.1). One queue is
/// stopped under load and started again, of the same size or another; the others go on.
@Suite("Driver rules: queue reset")
struct QueueResetTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    var isPacked = false
    var isIndirect = true
    var isInOrder = false

    var testDescription: String {
      "\(isPacked ? "packed" : "split")\(isIndirect ? "" : " direct")"
        + (isInOrder ? " in order" : "")
    }

    static let all = (0..<8).map {
      Shape(isPacked: $0 & 1 == 1, isIndirect: $0 & 2 == 0, isInOrder: $0 & 4 == 4)
    }

    func apply(to configuration: inout EmulatedDisk.Configuration) {
      configuration.extra = .ringReset
      if isPacked { configuration.extra.insert(.ringPacked) }
      if isInOrder { configuration.extra.insert(.inOrder) }
      if !isIndirect { configuration.withheld.insert(.indirectDescriptors) }
      configuration.queueSize = 64
    }
  }

  private static let queueReset = Register(CommonConfig.queueReset, width: 2)

  private func rig(
    _ shape: Shape = Shape(), script: RecordingFunction.Script = RecordingFunction.Script(),
    depth: Int = 16, disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in }
  ) throws -> Rig {
    try Rig(
      script: script,
      disk: {
        shape.apply(to: &$0)
        $0.mode = .stepped
        change(&$0)
      }, options: { $0.depth = depth })
  }

  @Test("row 41: 1 is written, 0 waited for, then the whole set-up again; the status is left alone")
  func trace() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    rig.function.clear()
    try queue.reset()
    let rings = queue.memory.addresses
    #expect(
      rig.function.events
        == [.store(.queueSelect, 0), .store(Self.queueReset, 1), .load(Self.queueReset, 0)]
        + BringUpRuleTests.queueSetUp(0, size: 16, rings))
  }

  @Test("row 41: it is waited for as long as the register reads 1")
  func ongoing() throws {
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      register == Self.queueReset ? (count < 7 ? 1 : 0) : value
    }
    let rig = try rig(script: script)
    var queue = try rig.device.makeQueue()
    rig.function.clear()
    try queue.reset()
    let loads = rig.function.events.filter { $0 == .load(Self.queueReset, 1) }
    #expect(loads.count == 7)
    let enabled = rig.function.events.lastIndex(of: .store(.queueEnable, 1))
    let confirmed = rig.function.events.lastIndex(of: .load(Self.queueReset, 0))
    #expect(try #require(enabled) > #require(confirmed))
  }

  @Test(
    "row 41: under load each operation ends once, as a success if it was used; the queue goes on",
    arguments: Shape.all)
  func underLoad(shape: Shape) throws {
    for served in 0..<6 {
      let rig = try rig(shape)
      var queue = try rig.device.makeQueue()
      for tag in 0..<5 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      rig.disk.serve(queue: 0, max: served)
      // One more, not shown to the device.
      _ = try queue.queueRead(rig, tag: 5)
      try queue.reset()
      let ended = queue.takeAll(6).sorted { $0.tag < $1.tag }
      #expect(ended.map(\.tag) == Array(0..<6))
      #expect(
        ended.map(\.result.code) == (0..<6).map { $0 < served ? nil : .reset },
        "served \(served)")
      let more = queue.take(1000)
      #expect(more == nil)
      for round in 0..<40 as Range<UInt64> {
        _ = try queue.queueRead(rig, tag: round)
        queue.kick()
        rig.disk.serve(queue: 0)
        let done = queue.take()
        #expect(done == Ended(tag: round, bytes: 4096))
      }
      #expect(queue.statistics.resets == 1 && queue.statistics.violations == 0)
      #expect(rig.disk.violations.isEmpty, "\(rig.disk.violations)")
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test(
    "row 41: another size, smaller and larger again; what was kept is delivered",
    arguments: Shape.all)
  func sizes(shape: Shape) throws {
    let rig = try rig(shape)
    var queue = try rig.device.makeQueue()
    let most = queue.maximumDepth
    #expect(most == queue.depth)
    for depth in [1, 2, 3, most, 5, most] {
      for tag in 0..<UInt64(queue.depth) { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let before = queue.depth
      try queue.reset(depth: depth)
      #expect(queue.depth >= depth && queue.depth <= most)
      let ended = queue.takeAll(before)
      #expect(ended.map(\.tag).sorted() == Array(0..<UInt64(before)))
      let atRest = queue.isAtRest
      #expect(atRest)
      // As many as it says, and no more, three times round.
      for _ in 0..<3 {
        for tag in 0..<UInt64(queue.depth) {
          let isQueued = try queue.queueRead(rig, tag: tag)
          #expect(isQueued, "depth \(queue.depth)")
        }
        let isQueued = try queue.queueRead(rig)
        #expect(!isQueued)
        queue.kick()
        rig.disk.serve(queue: 0)
        let done = queue.takeAll(queue.depth)
        #expect(done.count == queue.depth)
        #expect(done.allSatisfy { $0.result == IOResult(success: 4096) })
      }
    }
    #expect(rig.disk.violations.isEmpty, "\(rig.disk.violations)")
  }

  @Test("row 41: other queues go on", arguments: Shape.all)
  func others(shape: Shape) throws {
    let rig = try Rig(
      disk: {
        shape.apply(to: &$0)
        $0.mode = .stepped
        $0.queues = 2
      }, options: { $0.queues = 2 })
    var one = try rig.device.makeQueue()
    var two = try rig.device.makeQueue()
    _ = try one.queueRead(rig, tag: 1)
    _ = try two.queueRead(rig, tag: 2)
    one.kick()
    two.kick()
    try one.reset(depth: 3)
    rig.disk.serve(queue: 1)
    let first = one.take()
    let second = two.take()
    #expect(first == Ended(tag: 1, code: .reset))
    #expect(second == Ended(tag: 2, bytes: 4096))
    #expect(two.statistics.resets == 0)
  }

  @Test("row 41: without the feature it is refused by name, and so are depths that can't be")
  func refusals() throws {
    let plain = try Rig()
    var other = try plain.device.makeQueue()
    #expect(throws: VBlkError.self) { try other.reset() }
    do throws(VBlkError) { try other.reset() } catch {
      #expect(error.code == .unsupported && error.cause.contains("RING_RESET"))
      #expect(error.cause.contains("2.6.1"))
    }
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    for depth in [0, -1, 17, Int.max, Int.min] {
      do throws(VBlkError) {
        try queue.reset(depth: depth)
        Issue.record("depth \(depth) was taken")
      } catch {
        #expect(error.code == .invalidArgument && error.cause.contains("\(depth)"))
      }
    }
    #expect(queue.depth == 16 && queue.statistics.resets == 0)
    rig.device.close()
    do throws(VBlkError) { try queue.reset() } catch { #expect(error.code == .closed) }
  }

  @Test("row 41: a common structure without the register: the feature is not accepted")
  func withoutRegister() throws {
    var script = RecordingFunction.Script()
    // The first capability's length field, 0x40 + 12.
    script.configBytes = [0x4C: 0x38]
    let rig = try rig(script: script)
    #expect(rig.device.info.offered.contains(.ringReset))
    #expect(!rig.device.info.accepted.contains(.ringReset))
  }

  @Test("row 17: a device that never confirms is reset whole; each operation ends once")
  func neverConfirms() throws {
    let rig = try rig { $0.hostility = .queueResetNeverEnds }
    var queue = try rig.device.makeQueue()
    for tag in 0..<3 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
    queue.kick()
    do throws(VBlkError) {
      try queue.reset()
      Issue.record("confirmed")
    } catch {
      #expect(error.code == .deviceUnavailable && error.cause.contains("4.1.4.3.1"))
    }
    let ended = queue.takeAll(3).sorted { $0.tag < $1.tag }
    #expect(ended == (0..<3).map { Ended(tag: $0, code: .reset) })
    _ = try queue.queueRead(rig, tag: 7)
    queue.kick()
    rig.disk.serve(queue: 0)
    let done = queue.take()
    #expect(done == Ended(tag: 7, bytes: 4096))
  }

  @Test("row 41: a device that refuses the new size is reset whole, and runs with the old one")
  func refusedSize() throws {
    var script = RecordingFunction.Script()
    script.load = { register, _, value in register == .queueSize && value == 4 ? 8 : value }
    let rig = try rig(script: script)
    var queue = try rig.device.makeQueue()
    do throws(VBlkError) {
      try queue.reset(depth: 4)
      Issue.record("taken")
    } catch {
      #expect(error.code == .deviceUnavailable)
    }
    #expect(queue.depth == 16)
    _ = try queue.queueRead(rig, tag: 7)
    queue.kick()
    rig.disk.serve(queue: 0)
    let done = queue.take()
    #expect(done == Ended(tag: 7, bytes: 4096))
  }

  @Test("row 41, rule 10: a missed deadline resets the queue alone", arguments: Shape.all)
  func deadline(shape: Shape) throws {
    let rig = try Rig(
      disk: {
        shape.apply(to: &$0)
        $0.mode = .stepped
      }, options: { $0.deadlineNanoseconds = 50_000_000 })
    var queue = try rig.device.makeQueue()
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    rig.function.clear()
    let ended = queue.take(50_000_000)
    #expect(ended == Ended(tag: 1, code: .timedOut))
    #expect(rig.function.events.contains(.store(Self.queueReset, 1)))
    #expect(!rig.function.events.contains(.store(.status, 0)))
    _ = try queue.queueRead(rig, tag: 7)
    queue.kick()
    rig.disk.serve(queue: 0)
    let done = queue.take()
    #expect(done == Ended(tag: 7, bytes: 4096))
  }
}
