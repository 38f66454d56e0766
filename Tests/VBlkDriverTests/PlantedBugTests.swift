import CHostIO
import Synchronization
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What planted bugs (Tests/Mutants) got past all other tests with.
@Suite("Planted bugs")
struct PlantedBugTests {
  private func stepped(depth: Int = 16) throws -> Bench {
    try Bench {
      $0.mode = .stepped
      $0.segMax = 1
      $0.sizeMax = 512
    } options: {
      $0.depth = depth
    }
  }

  @Test("rule 1: a bounced read that failed leaves the caller's memory as it was")
  func failedBounce() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    var whole = try bench.buffer(512) { _ in 0x11 }
    try queue.write(at: 0, from: whole)
    var part = try bench.buffer(100)
    try queue.read(at: 10, into: &part)
    #expect(part.contents.allSatisfy { $0 == 0x11 }, "the bounce block holds old data")
    part.withUnsafeMutableBytes { for index in $0.indices { $0[index] = 0xEE } }
    bench.disk.setFaults([FaultRule(.status(1))])
    #expect(throws: VBlkError.self) { try queue.read(at: 10, into: &part) }
    #expect(part.contents.allSatisfy { $0 == 0xEE })
    bench.disk.setFaults([])
    try queue.read(at: 0, into: &whole)
  }

  @Test("rule 7: the first look that finds nothing kicks what is pending")
  func forgottenKick() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
      Issue.record("not queued")
      return
    }
    #expect(bench.disk.available(queue: 0) == 0)
    let early = queue.next() != nil
    #expect(!early)
    #expect(bench.disk.available(queue: 0) == 1)
    #expect(bench.disk.kickedQueues == [0])
    bench.disk.serve(queue: 0)
    let done = queue.nextSummary(2)
    #expect(done?.byteCount == 512)
  }

  @Test("rule 8: no FLUSH follows data that failed")
  func failedDataIsNotFlushed() throws {
    let bench = try stepped()
    var queue = try bench.device.makeQueue()
    bench.disk.setFaults([FaultRule(.status(1), operations: [.write])])
    let buffer = try bench.buffer(512)
    guard case .queued = queue.submitWrite(at: 0, from: buffer, tag: 1, durable: true) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    bench.disk.serve(queue: 0)
    let done = queue.nextSummary(2)
    #expect(done == Summary(tag: 1, byteCount: 0, code: .ioError, hasBuffer: true))
    #expect(bench.disk.available(queue: 0) == 0, "a FLUSH was published")
  }

  @Test("rule 5: a synchronous call's error is returned, and never notified")
  func returnedError() throws {
    let bench = try Bench()
    var queue = try bench.device.makeQueue()
    bench.disk.setFaults([FaultRule(.status(1))])
    var buffer = try bench.buffer(512)
    #expect(throws: VBlkError.self) { try queue.read(at: 0, into: &buffer) }
    let notified = queue.next() != nil
    #expect(!notified)
    #expect(queue.inFlight == 0)
  }

  @Test("rule 7: the poll that refills a slot kicks it")
  func refilledKick() throws {
    let bench = try stepped(depth: 2)
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512 * 3), tag: 1) else {
      Issue.record("not queued")
      return
    }
    queue.kick()
    let first = bench.disk.fetchAll()
    #expect(first.count == 2)
    try bench.disk.complete(first[0])
    let early = queue.next() != nil
    #expect(!early)
    #expect(bench.disk.kickedQueues == [0], "the third bio is shown, and the device is told")
    try bench.disk.complete(first[1])
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let done = queue.nextSummary(4)
    #expect(done?.byteCount == 512 * 3)
  }

  @Test("R35: nothing is ended before the device has read status 0")
  func stopsFirst() throws {
    let seen = Seen()
    var script = RecordingFunction.Script()
    script.beforeStore = { _, register, value in
      if register == .status, value == 0 { seen.look() }
    }
    let rig = try Rig(script: script, disk: { $0.mode = .stepped })
    seen.queue = try rig.device.makeQueue()
    let isQueued = seen.submit(try rig.buffer())
    #expect(isQueued)
    rig.device.reset()
    #expect(seen.endedBefore == 0)
    let ended = seen.end()
    #expect(ended == .reset)
  }

  /// A queue that is looked at from within a register store, in the thread of the test.
  private final class Seen: @unchecked Sendable {
    var queue: Queue?
    private(set) var endedBefore = 0
    private var isArmed = false

    func submit(_ buffer: consuming DMABuffer) -> Bool {
      guard case .queued? = queue?.submitRead(at: 0, into: buffer, tag: 1) else { return false }
      queue?.kick()
      isArmed = true
      return true
    }

    /// At the first store after the submission only: the device is opened by one, and the restart,
    /// inside ``end()``, stores 0 once more.
    func look() {
      guard isArmed else { return }
      isArmed = false
      guard let done = queue?.next() else { return }
      _ = done.tag
      endedBefore += 1
    }

    func end() -> VBlkError.Code? { queue?.next()?.result.code }
  }

  /// B waits for A's block, and C for B, though nothing that is under way is in C's way.
  @Test("R24: a write does not overtake one that waits for the same blocks")
  func waitsBehindTheWaiting() throws {
    let rig = try Rig(disk: { $0.mode = .stepped }, options: { $0.depth = 8 })
    var queue = try rig.device.makeQueue()
    for (tag, offset, count) in [(1, 100, 100), (2, 300, 400), (3, 512, 512)] {
      let data = try rig.buffer(count, fill: UInt8(tag))
      guard case .queued = queue.submitWrite(at: UInt64(offset), from: data, tag: UInt64(tag))
      else {
        Issue.record("write \(tag) was not queued")
        return
      }
    }
    var tags: [UInt64] = []
    for _ in 0..<100 where tags.count < 3 {
      queue.kick()
      for handle in rig.disk.fetchAll() { try rig.disk.complete(handle) }
      while let done = queue.next() { tags.append(done.tag) }
    }
    #expect(tags == [1, 2, 3])
    let data = try rig.buffer(1024, fill: 0)
    guard case .queued = queue.submitRead(at: 0, into: data, tag: 4) else {
      Issue.record("the read was not queued")
      return
    }
    queue.kick()
    for handle in rig.disk.fetchAll() { try rig.disk.complete(handle) }
    guard let done = queue.next() else {
      Issue.record("the read did not end")
      return
    }
    let bytes = done.buffer?.contents ?? []
    let expected: [(Range<Int>, UInt8)] = [
      (0..<100, 0), (100..<200, 1), (200..<300, 0), (300..<512, 2), (512..<1024, 3),
    ]
    for (range, byte) in expected where bytes.count == 1024 {
      #expect(bytes[range].allSatisfy { $0 == byte }, "bytes \(range)")
    }
    #expect(bytes.count == 1024)
  }

  /// One of the two must see the other: the driver that the device wants to be told, or the device
  /// that there is something new. Without fence K, or with the wish read before it, neither does.
  @Test("fence K: a kick is not lost while the device goes to sleep")
  func fenceK() async throws {
    let rig = try Rig(
      disk: {
        $0.mode = .stepped
        $0.withheld.insert(.eventIndex)
      },
      options: { $0.depth = 4 })
    var queue = try rig.device.makeQueue()
    let view = RingView(queue, rig.function)
    let race = Race()
    let usedFlags = view.usedFlagsAddress
    let availIndex = view.availIndexAddress
    async let device: Void = race.sleeper(flags: usedFlags, index: availIndex)
    var lost = 0
    for round in 1...20_000 {
      var buffer = try rig.buffer()
      buffer.byteCount = 512
      guard case .queued = queue.submitRead(at: 0, into: buffer, tag: 1) else { break }
      let before = queue.statistics.kicks
      view.usedFlags = SplitLayout.usedNoNotify
      race.start(round)
      queue.kick()
      let hasRung = queue.statistics.kicks != before
      let hasSeen = race.result(round)
      if !hasRung, !hasSeen { lost += 1 }
      rig.disk.serve(queue: 0)
      _ = queue.nextSummary(2)
    }
    race.start(-1)
    await device
    #expect(lost == 0)
  }

  /// Two threads that meet before each round.
  private final class Race: Sendable {
    private let round = Atomic<Int>(0)
    private let answer = Atomic<Int>(0)

    func start(_ number: Int) { round.store(number, ordering: .releasing) }

    /// The device's side: says that it wants to be told, fence K, looks for something new.
    func sleeper(flags: UInt, index: UInt) async {
      var number = 1
      var seen: UInt16 = 0
      while true {
        var now = round.load(ordering: .acquiring)
        while now != number, now >= 0 {
          chio_pause()
          now = round.load(ordering: .acquiring)
        }
        guard now >= 0 else { return }
        for _ in 0..<number % 64 { chio_pause() }
        store(flags, 0)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let new = load(index)
        answer.store(number << 1 | (new != seen ? 1 : 0), ordering: .releasing)
        seen = UInt16(truncatingIfNeeded: number)
        number += 1
      }
    }

    func result(_ number: Int) -> Bool {
      var now = answer.load(ordering: .acquiring)
      while now >> 1 != number {
        chio_yield()
        now = answer.load(ordering: .acquiring)
      }
      return now & 1 == 1
    }

    private func store(_ address: UInt, _ value: UInt16) {
      guard let pointer = UnsafeMutableRawPointer(bitPattern: address) else { return }
      chio_store16_once(pointer, value)
    }

    private func load(_ address: UInt) -> UInt16 {
      guard let pointer = UnsafeRawPointer(bitPattern: address) else { return 0 }
      return chio_load16_once(pointer)
    }
  }

  @Test("of two locks, the one that was got is given back where the other is refused")
  func allOrNone() {
    let locks = BlockLocks()
    let seven = BlockPair(first: 7, last: 7)
    let eight = BlockPair(first: 8, last: 8)
    #expect(locks.tryLock(eight))
    #expect(!locks.tryLock(BlockPair(first: 7, last: 8)))
    #expect(locks.tryLock(seven), "7 is free")
    locks.unlock(seven)
    locks.unlock(eight)
    #expect(locks.tryLock(BlockPair(first: 8, last: 7)))
  }
}

extension RingView {
  var usedFlagsAddress: UInt { UInt(bitPattern: host(addresses.device)) }
  var availIndexAddress: UInt {
    UInt(bitPattern: host(addresses.driver)) + UInt(SplitLayout.indexOffset)
  }
}
