import CHostIO
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Ports, the loop's steps taken by hand in this thread.
@Suite("Ports", .onEachRing)
struct PortTests {
  /// A loop's queue on a device of its own.
  private func loop(_ bench: Bench) throws -> LoopQueue {
    LoopQueue(try bench.device.makeQueue(), waker: try LoopWaker())
  }

  private func bench(_ mode: EmulatedDisk.Mode = .inline, depth: Int = 8) throws -> Bench {
    try Bench(bytes: 64 << 10) {
      $0.mode = mode
    } options: {
      $0.depth = depth
    }
  }

  @Test("every kind of operation goes through a port, and its memory comes back")
  func everyOperation() throws {
    let bench = try bench()
    var loop = try loop(bench)
    var port = try loop.shared.makePort(depth: 16)
    var list = SegmentList(segmentCapacity: 2)
    list.append(try bench.buffer(512) { _ in 3 })
    list.append(try bench.buffer(1024) { _ in 4 })
    let first = try bench.buffer(1000) { _ in 7 }
    let queued = [
      isQueued(port.submitWrite(at: 0, from: first, tag: 1)),
      isQueued(port.submitWrite(at: 1024, from: list, tag: 2, durable: true)),
    ]
    #expect(queued == [true, true])
    #expect(port.submitFlush(tag: 3) == .queued)
    #expect(port.submitDiscard(at: 8192, byteCount: 4096, tag: 4) == .queued)
    #expect(port.submitWriteZeroes(at: 16384, byteCount: 512, tag: 5) == .queued)
    #expect(port.inFlight == 5)
    let before = port.next() == nil
    #expect(before, "nothing runs before the loop does")
    while loop.round() {}
    var ended: [UInt64: IOResult] = [:]
    while let done = port.next() {
      ended[done.tag] = done.result
      let isRight = done.hasBuffer == (done.tag == 1) && done.hasSegments == (done.tag == 2)
      #expect(isRight)
    }
    #expect(
      ended.mapValues(\.byteCount) == [1: 1000, 2: 1536, 3: 0, 4: 4096, 5: 512]
        && ended.values.allSatisfy { $0.code == nil })
    _ = port.submitRead(at: 512, into: try bench.buffer(1024), tag: 6)
    port.kick()
    while loop.round() {}
    var bytes: [UInt8] = []
    if let done = port.next() { bytes = done.buffer?.contents ?? [] }
    #expect(bytes == (0..<1024).map { $0 < 488 ? 7 : $0 < 512 ? 0 : 3 })
    let atRest = loop.queue.isAtRest && loop.isQuiet && port.inFlight == 0
    #expect(atRest)
    loop.close()
  }

  private func isQueued(_ submission: consuming Submission<DMABuffer>) -> Bool {
    guard case .queued = submission else { return false }
    return true
  }

  private func isQueued(_ submission: consuming Submission<SegmentList>) -> Bool {
    guard case .queued = submission else { return false }
    return true
  }

  @Test("what a queue refuses or ends at once, a port's completion says, once")
  func refusedByQueue() throws {
    let bench = try bench()
    var loop = try loop(bench)
    var port = try loop.shared.makePort(depth: 4)
    _ = port.submitWrite(at: 64 << 10, from: try bench.buffer(512), tag: 1)
    _ = port.submitRead(at: 64 << 10, into: try bench.buffer(512), tag: 2)
    _ = port.submitDiscard(at: 1, byteCount: 512, tag: 3)
    port.kick()
    _ = loop.round()
    var ended: [UInt64: IOResult] = [:]
    while let done = port.next() {
      ended[done.tag] = done.result
      let isRight = done.hasBuffer == (done.tag < 3)
      #expect(isRight)
    }
    #expect(
      ended == [
        1: IOResult(byteCount: 0, code: .noSpace), 2: IOResult(success: 0),
        3: IOResult(byteCount: 0, code: .invalidArgument),
      ])
    loop.close()
  }

  @Test("a port is busy when its credits are out; one taken is one more; a full queue delays")
  func credits() throws {
    let bench = try bench(depth: 2)
    var loop = try loop(bench)
    var port = try loop.shared.makePort(depth: 4)
    for round in 0..<50 {
      var queued = 0
      while isQueued(port.submitRead(at: 0, into: try bench.buffer(512), tag: UInt64(round))) {
        queued += 1
      }
      #expect(queued == (round == 0 ? 4 : 1))
      port.kick()
      while loop.round() {}
      let result = port.next()?.result
      #expect(result == IOResult(success: 512))
    }
    let requests = loop.queue.statistics.requests
    #expect(requests == 53)
    loop.close()
  }

  @Test("two ports take turns, though one has always more to ask")
  func turns() throws {
    let bench = try bench(.stepped, depth: 1)
    var loop = try loop(bench)
    var greedy = try loop.shared.makePort(depth: 64)
    var modest = try loop.shared.makePort(depth: 1)
    for _ in 0..<64 { _ = greedy.submitRead(at: 0, into: try bench.buffer(512), tag: 0) }
    greedy.kick()
    _ = modest.submitRead(at: 0, into: try bench.buffer(512), tag: 1)
    modest.kick()
    var rounds = 0
    while rounds < 300 {
      rounds += 1
      _ = loop.round()
      bench.disk.serve(queue: 0)
      if modest.next() != nil { break }
    }
    #expect(rounds < 20, "the modest one waited \(rounds) rounds")
    for _ in 0..<300 {
      _ = loop.round()
      bench.disk.serve(queue: 0)
    }
    loop.close()
  }

  @Test("T40 close-with-inflight, port: unpublished, published and in flight all end once")
  func close() throws {
    let bench = try bench(.inline, depth: 2)
    var loop = try loop(bench)
    var port = try loop.shared.makePort(depth: 16)
    for tag in 0..<4 as Range<UInt64> {
      _ = port.submitRead(at: 0, into: try bench.buffer(512), tag: tag)
    }
    port.kick()
    loop.takeRequests()  // Two of them have a slot.
    for tag in 4..<8 as Range<UInt64> {
      _ = port.submitRead(at: 0, into: try bench.buffer(512), tag: tag)
    }
    loop.close()
    var ended: [UInt64: VBlkError.Code?] = [:]
    for _ in 0..<40 {
      guard let done = port.next() else { continue }
      let before = ended.updateValue(done.result.code, forKey: done.tag)
      #expect(before == nil, "an operation ended twice")
      let hasBuffer = done.hasBuffer
      #expect(hasBuffer)
    }
    #expect(ended.count == 8)
    #expect((0..<2).allSatisfy { ended[$0] == .some(nil) }, "those in flight completed")
    #expect((2..<8).allSatisfy { ended[$0] == .some(.closed) })
    let late = isQueued(port.submitRead(at: 0, into: try bench.buffer(512), tag: 9))
    #expect(!late)
    #expect(throws: VBlkError.self) { _ = try loop.shared.makePort() }
  }

  @Test("a client that goes away with work in flight loses no memory", arguments: 0...3)
  func abandoned(stage: Int) throws {
    let bench = try bench(.stepped)
    let free = bench.device.memory.freeByteCount
    var loop = try loop(bench)
    do {
      var port = try loop.shared.makePort(depth: 4)
      for tag in 0..<3 as Range<UInt64> {
        _ = port.submitRead(at: 0, into: try bench.buffer(512), tag: tag)
      }
      if stage > 0 { port.kick() }
      if stage > 1 { _ = loop.round() }
      if stage > 2 {
        bench.disk.serve(queue: 0)
        _ = loop.round()
        _ = port.next()
      }
      _ = port.submitRead(at: 0, into: try bench.buffer(512), tag: 9)
    }
    for _ in 0..<10 {
      _ = loop.round()
      bench.disk.serve(queue: 0)
    }
    let isQuiet = loop.isQuiet
    #expect(isQuiet)
    #expect(bench.device.memory.freeByteCount == free)
    loop.close()
  }
}

/// Loops on threads of their own.
@Suite("Poll loops", .serialized, .onEachRing)
struct PollLoopTests {
  @Test("T15, T38 ports: clients on threads of their own read back what they wrote")
  func clients() throws {
    let bench = try Bench(bytes: 1 << 20) {
      $0.mode = .threaded
      $0.queues = 2
    } options: {
      $0.queues = 2
    }
    let loop = try PollLoop()
    let shared = [loop.add(try bench.device.makeQueue()), loop.add(try bench.device.makeQueue())]
    let rounds = Rounds.count(2_000) / 4
    Threads.run(4) { client in
      var port = try shared[client % 2].makePort(depth: 8)
      var client = try Client(bench, number: client)
      try client.run(rounds: rounds, &port)
    }
    loop.stop()
  }

  @Test("an idle loop sleeps, and each kick wakes it")
  func sleeps() throws {
    let bench = try Bench { $0.mode = .inline }
    let loop = try PollLoop()
    let shared = loop.add(try bench.device.makeQueue())
    var port = try shared.makePort(depth: 1)
    for round in 0..<20 {
      // Until it sleeps: what wakes it is then this kick.
      let begun = chio_now_ns()
      var isAsleep = false
      while !isAsleep, chio_now_ns() - begun < 30_000_000_000 {
        isAsleep = shared.waker.isAsleep
        if !isAsleep { chio_yield() }
      }
      #expect(isAsleep, "round \(round)")
      let start = chio_now_ns()
      _ = port.submitRead(at: 0, into: try bench.buffer(512), tag: 1)
      port.kick()
      var done = false
      while !done, chio_now_ns() - start < 5_000_000_000 {
        done = port.next() != nil
        if !done { chio_yield() }
      }
      #expect(done)
    }
    loop.stop()
  }

  @Test("T40 close-with-inflight, loop: stopped under load, each operation ends once")
  func stopUnderLoad() throws {
    for round in 0..<5 {
      let bench = try Bench(bytes: 1 << 20) { $0.mode = .threaded }
      let free = bench.device.memory.freeByteCount
      let loop = try PollLoop()
      let shared = loop.add(try bench.device.makeQueue())
      let ended = Counter()
      Threads.run(3) { client in
        if client == 2 {
          while ended.value < 200 * (round + 1) { chio_yield() }
          loop.stop()
          return
        }
        var port = try shared.makePort(depth: 16)
        var accepted = 0
        var completed = 0
        var isOpen = true
        while isOpen || completed < accepted {
          if isOpen {
            let buffer = try bench.buffer(512)
            switch port.submitRead(at: 0, into: buffer, tag: 0) {
            case .queued: accepted += 1
            case .completed: Issue.record("a port completes nothing at once")
            case .refused(let code, _): if code == .closed { isOpen = false }
            }
          }
          port.kick()
          while let done = port.next() {
            completed += 1
            ended.add()
            let code = done.result.code
            #expect(code == nil || code == .closed)
          }
          chio_yield()
        }
        #expect(completed == accepted)
      }
      #expect(bench.device.memory.freeByteCount == free)
    }
  }

  @Test("T15 submitter-vs-poller, spread: reads over two loops bring what was written")
  func spread() throws {
    let bench = try Bench(bytes: 1 << 20) {
      $0.mode = .threaded
      $0.queues = 3
    } options: {
      $0.queues = 3
    }
    let loops = [try PollLoop(), try PollLoop()]
    let shared = try loops.map { $0.add(try bench.device.makeQueue()) }
    let home = SendBox(try bench.device.makeQueue())
    let rounds = Rounds.count(600)
    Threads.run(1) { _ in
      var options = PollGroup.Options()
      options.partByteCount = 512
      var group = PollGroup(home: home.take(), with: shared, options: options)
      var client = try Client(bench, number: 0)
      try client.run(rounds: rounds, &group)
    }
    for loop in loops { loop.stop() }
  }

  @Test("T38 reset-vs-submit, T40: resets and a close from another thread, spread and by ports")
  func crossThread() throws {
    for closes in [false, true] {
      let bench = try Bench(bytes: 1 << 20) {
        $0.mode = .threaded
        $0.queues = 3
      } options: {
        $0.queues = 3
      }
      let loop = try PollLoop()
      let shared = [loop.add(try bench.device.makeQueue()), loop.add(try bench.device.makeQueue())]
      let home = SendBox(try bench.device.makeQueue())
      let ended = Counter()
      let isOver = Counter()
      let rounds = Rounds.count(600)
      Threads.run(3) { thread in
        defer { isOver.add() }
        switch thread {
        case 0:
          var options = PollGroup.Options()
          options.partByteCount = 512
          var group = PollGroup(home: home.take(), with: shared, options: options)
          try hammer(&group, bench, rounds: rounds, ended)
        case 1:
          var port = try shared[0].makePort(depth: 16)
          try hammer(&port, bench, rounds: rounds, ended)
        default:
          var next = 50
          while isOver.value < 2 {
            if ended.value >= next {
              next += 97
              bench.device.reset()
            }
            if closes, ended.value > rounds { bench.device.close() }
            chio_yield()
          }
        }
      }
      loop.stop()
    }
  }
}

extension Completion {
  var hasBuffer: Bool {
    switch buffer {
    case .some: true
    case .none: false
    }
  }

  var hasSegments: Bool {
    switch segments {
    case .some: true
    case .none: false
    }
  }
}
