import CHostIO
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// IN_ORDER on both ring formats: row 52 of the driver checklist (virtio 1.2, 2.7.5.2, 2.7.9 and
/// 2.8.9). One used entry ends all requests up to its own.
@Suite("Driver rules: in order")
struct InOrderTests {
  /// A ring on which the device uses buffers in order.
  struct Shape: CustomTestStringConvertible, Sendable {
    let size: Int
    let isPacked: Bool
    let isIndirect: Bool

    var testDescription: String {
      "\(isPacked ? "packed" : "split") size \(size) indirect \(isIndirect)"
    }

    static let all =
      [1, 2, 4, 16].map { Shape(size: $0, isPacked: false, isIndirect: true) }
      + [4, 8, 64].map { Shape(size: $0, isPacked: false, isIndirect: false) }
      + [1, 2, 3, 7, 16].map { Shape(size: $0, isPacked: true, isIndirect: true) }
      + [3, 4, 7, 50].map { Shape(size: $0, isPacked: true, isIndirect: false) }
    /// Two of each that hold several requests.
    static let large = all.filter { $0.size >= ($0.isIndirect ? 16 : 50) }

    func apply(to configuration: inout EmulatedDisk.Configuration) {
      configuration.extra = isPacked ? [.inOrder, .ringPacked] : .inOrder
      configuration.queueSize = size
      if !isIndirect { configuration.withheld.insert(.indirectDescriptors) }
    }
  }

  /// A device that a test plays, on either format.
  struct Player {
    struct Request {
      let id: UInt32
      let status: UnsafeMutableRawPointer
      let writable: UInt32
      let span: Int
    }

    var split: RingView?
    var packed: PackedView?
    private var next: UInt16 = 0

    init(_ queue: borrowing Queue, _ rig: Rig, _ shape: Shape) {
      if shape.isPacked {
        packed = PackedView(queue, rig.function)
      } else {
        split = RingView(queue, rig.function)
      }
    }

    mutating func takeAll() -> [Request] {
      if let split {
        let chains = split.chains(from: next)
        next = split.availIndex
        return chains.compactMap { chain in
          guard let last = chain.descriptors.last else { return nil }
          return Request(
            id: UInt32(chain.head), status: split.host(last.address),
            writable: chain.writableBytes, span: 1)
        }
      }
      guard var view = packed else { return [] }
      let lists = view.takeAll()
      packed = view
      return lists.compactMap { list in
        guard let last = list.buffers.last else { return nil }
        return Request(
          id: UInt32(list.id), status: view.host(last.address), writable: list.writableBytes,
          span: list.descriptors.count)
      }
    }

    func answer(_ request: Request, _ status: UInt8 = 0) {
      chio_store8_once(request.status, status)
    }

    /// Writes one used entry that stands for `count` requests, `span` descriptors in all.
    mutating func use(_ id: UInt32, _ length: UInt32, count: Int, span: Int) {
      if let split {
        split.pushUsed(id, length)
        split.usedIndex &+= UInt16(count - 1)
      }
      packed?.pushUsed(UInt16(truncatingIfNeeded: id), length, span: span)
    }

    /// Ends requests as an honest device does, by one entry.
    mutating func end(_ batch: ArraySlice<Request>) {
      guard let last = batch.last else { return }
      for request in batch { answer(request) }
      use(
        last.id, last.writable, count: batch.count, span: batch.reduce(0) { $0 + $1.span })
    }
  }

  private func played(_ shape: Shape) throws -> (rig: Rig, gate: Gate) {
    try Gate.rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
  }

  @Test("row 52: IN_ORDER is accepted where it is offered and not declined", arguments: Shape.all)
  func negotiation(shape: Shape) throws {
    let rig = try Rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
    #expect(rig.device.info.accepted.contains(.inOrder))
    #expect(rig.device.info.queueSizes == [shape.size])
    #expect(rig.device.info.depth == (shape.isIndirect ? shape.size : shape.size / 3))
    let declined = try Rig(
      disk: { shape.apply(to: &$0) }, options: { $0.declinedFeatures = .inOrder })
    #expect(!declined.device.info.accepted.contains(.inOrder))
    var queue = try declined.device.makeQueue()
    let works = try queue.works(declined)
    #expect(works)
  }

  /// Submits one or several operations of one kind; how many were queued.
  private func submit(_ queue: inout Queue, _ rig: Rig, _ step: Int) throws -> Int {
    let tag = UInt64(step)
    switch step % 5 {
    case 0: return try queue.queueRead(rig, at: 512, 512, tag: tag) ? 1 : 0
    case 1:
      var list = SegmentList(segmentCapacity: 12)
      for index in 0..<12 { list.append(try rig.buffer(512 << (index % 3))) }
      if case .queued = queue.submitRead(at: 4096, into: list, tag: tag) { return 1 }
      return 0
    case 2:
      let part = try rig.buffer(1000)
      if case .queued = queue.submitWrite(at: 100, from: part, tag: tag) { return 1 }
      return 0
    case 3: return queue.submitFlush(tag: tag) == .queued ? 1 : 0
    default:
      var count = 0
      while try queue.queueRead(rig, at: 0, 4096, tag: tag) { count += 1 }
      return count
    }
  }

  @Test("row 52: descriptors follow the ring from 0, next is the one behind, tables run on")
  func ringOrder() throws {
    for shape in Shape.all where !shape.isPacked {
      let (rig, _) = try played(shape)
      var queue = try rig.device.makeQueue()
      var player = Player(queue, rig, shape)
      let view = RingView(queue, rig.function)
      var place = 0
      var index: UInt16 = 0
      for step in 0..<60 {
        var expected = try submit(&queue, rig, step)
        for _ in 0..<500 where expected > 0 {
          queue.kick()
          for chain in view.chains(from: index) {
            #expect(Int(chain.head) == place, "step \(step) \(shape.testDescription)")
            for (count, descriptor) in chain.ringDescriptors.enumerated() {
              let isLast = count == chain.ringDescriptors.count - 1
              #expect(descriptor.flags.contains(.next) != isLast)
              place = (place + 1) % shape.size
              if !isLast { #expect(Int(descriptor.next) == place) }
            }
            guard chain.table != nil else { continue }
            for (count, descriptor) in chain.descriptors.dropLast().enumerated() {
              #expect(Int(descriptor.next) == count + 1)
            }
          }
          index = view.availIndex
          player.end(player.takeAll()[...])
          while queue.take(2) != nil { expected -= 1 }
        }
        #expect(expected == 0, "step \(step) \(shape.testDescription)")
      }
      #expect(queue.statistics.violations == 0)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test(
    "row 52: each way to cut what is in flight into batches ends each request once, in order",
    arguments: Shape.large)
  func batches(shape: Shape) throws {
    let (rig, _) = try played(shape)
    var queue = try rig.device.makeQueue()
    var player = Player(queue, rig, shape)
    // Bit i of the pattern: a batch ends behind request i.
    for pattern in 0..<64 as Range<Int> {
      for tag in 0..<6 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let requests = player.takeAll()
      #expect(requests.count == 6)
      var first = 0
      var ended: [Ended] = []
      for index in requests.indices where pattern >> index & 1 == 1 || index == 5 {
        player.end(requests[first...index])
        first = index + 1
        if pattern & 1 == 0 { ended += queue.takeAll(6, 3) }
      }
      ended += queue.takeAll(6 - ended.count)
      #expect(ended.map(\.tag) == Array(0..<6), "pattern \(pattern)")
      #expect(ended.allSatisfy { $0.result == IOResult(success: 4096) })
      let atRest = queue.isAtRest
      #expect(atRest)
    }
    #expect(queue.statistics.violations == 0)
  }

  @Test("row 52: an error inside a batch is its own request's alone", arguments: Shape.large)
  func errorInside(shape: Shape) throws {
    let (rig, _) = try played(shape)
    var queue = try rig.device.makeQueue()
    var player = Player(queue, rig, shape)
    for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
    queue.kick()
    let requests = player.takeAll()
    for request in requests { player.answer(request, request.id == requests[1].id ? 1 : 0) }
    player.use(requests[3].id, 4097, count: 4, span: requests.reduce(0) { $0 + $1.span })
    let ended = queue.takeAll(4)
    #expect(ended.map(\.tag) == [0, 1, 2, 3])
    #expect(ended.map(\.result.code) == [nil, .ioError, nil, nil])
  }

  /// What no device that keeps order may do with four reads in flight.
  struct Blow: CustomTestStringConvertible, Sendable {
    let name: String
    let reason: VBlkDriver.Violation.Reason
    /// Reads that end well before the queue breaks.
    var good = 0
    var isSplitOnly = false
    let strike: @Sendable (inout Player, [Player.Request]) -> Void

    var testDescription: String { name }
  }

  static let blows: [Blow] = [
    Blow(name: "a later one, the index by 1", reason: .usedOutOfOrder, isSplitOnly: true) {
      $0.answer($1[2])
      $0.use($1[2].id, 4097, count: 1, span: 1)
    },
    Blow(name: "a batch with one that has no status", reason: .usedOutOfOrder) {
      for request in [$1[1], $1[2]] { $0.answer(request) }
      $0.use($1[2].id, 4097, count: 3, span: $1[0].span * 3)
    },
    Blow(name: "the second of a batch has no status", reason: .usedOutOfOrder, good: 1) {
      for request in [$1[0], $1[2]] { $0.answer(request) }
      $0.use($1[2].id, 4097, count: 3, span: $1[0].span * 3)
    },
    Blow(name: "the last of a batch has no status", reason: .statusNotWritten, good: 2) {
      for request in [$1[0], $1[1]] { $0.answer(request) }
      $0.use($1[2].id, 4097, count: 3, span: $1[0].span * 3)
    },
    Blow(name: "the last of a batch is too long", reason: .usedLengthTooLarge, good: 1) {
      for request in $1 { $0.answer(request) }
      $0.use($1[1].id, 4098, count: 2, span: $1[0].span * 2)
    },
    Blow(name: "none in flight", reason: .usedIDNotInFlight) {
      for request in $1 { $0.answer(request) }
      let size = UInt32($0.split?.size ?? 0)
      $0.use(size == 0 ? 15 : ($1[0].id + size / 2) % size, 4097, count: 1, span: 1)
    },
    Blow(name: "none that can be", reason: .usedIDOutOfRange) {
      for request in $1 { $0.answer(request) }
      $0.use(0x7FFF, 4097, count: 1, span: 1)
    },
    Blow(name: "the index further than all", reason: .usedIndexJumped, isSplitOnly: true) {
      for request in $1 { $0.answer(request) }
      $0.use($1[3].id, 4097, count: 5, span: 5)
    },
  ]

  @Test(
    "row 52: a breach of order breaks the queue with its reason, each operation ends once",
    arguments: Shape.large, blows)
  func blow(shape: Shape, blow: Blow) throws {
    guard !blow.isSplitOnly || !shape.isPacked else { return }
    for lead in [0, 1, 3, 15] {
      let (rig, gate) = try played(shape)
      var queue = try rig.device.makeQueue()
      var player = Player(queue, rig, shape)
      for _ in 0..<lead {
        _ = try queue.queueRead(rig, tag: 9)
        queue.kick()
        player.end(player.takeAll()[...])
        let ended = queue.take()
        #expect(ended == Ended(tag: 9, bytes: 4096))
      }
      for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let requests = player.takeAll()
      #expect(requests.count == 4)
      blow.strike(&player, requests)
      let ended = queue.takeAll(4, 5000).sorted { $0.tag < $1.tag }
      #expect(
        ended.map(\.result.code)
          == (0..<4).map { $0 < blow.good ? nil : .protocolViolation }, "lead \(lead)")
      #expect(queue.state.lastViolation?.reason == blow.reason, "lead \(lead)")
      #expect(queue.statistics.violations == 1)
      gate.open()
      let works = try queue.works(rig)
      #expect(works)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("row 52: many operations over many turns of the emulator's ring", arguments: Shape.all)
  func manyTurns(shape: Shape) throws {
    for merges in [true, false] {
      let rig = try Rig(
        disk: {
          shape.apply(to: &$0)
          $0.inOrderBatches = merges
        }, options: { $0.depth = 128 })
      rig.function.stopRecording()
      var queue = try rig.device.makeQueue()
      let goal = merges && [1, 7, 8].contains(shape.size) ? 70_000 : 3000
      var submitted: UInt64 = 0
      var ended: UInt64 = 0
      for step in 0..<1_000_000 where ended < goal {
        while Int(submitted - ended) < max(1, step % (queue.depth + 1)) {
          guard try queue.queueRead(rig, at: 4096, 512, tag: submitted) else {
            Issue.record("operation \(submitted) was not queued")
            return
          }
          submitted += 1
        }
        if step % 3 != 1 { queue.kick() }
        while let done = queue.next() {
          guard done.tag == ended, done.result == IOResult(byteCount: 512, code: nil) else {
            Issue.record("operation \(ended): tag \(done.tag), \(done.result)")
            return
          }
          ended += 1
        }
      }
      #expect(ended >= goal)
      queue.drain()
      while queue.next() != nil {}
      #expect(queue.statistics.violations == 0)
      #expect(rig.disk.violations.isEmpty)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test("row 52: a closed queue's places are those of the queue that is handed out next")
  func handedOutAgain() throws {
    for shape in Shape.all {
      let rig = try Rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
      for count in 0..<2 * shape.size + 2 {
        var queue = try rig.device.makeQueue()
        for _ in 0..<count { try queue.flush() }
        let works = try queue.works(rig)
        #expect(works)
        #expect(queue.statistics.violations == 0)
      }
      #expect(rig.disk.violations.isEmpty)
    }
  }

  @Test("row 52: a reset in the middle of a batch starts anew", arguments: Shape.large)
  func resets(shape: Shape) throws {
    for taken in 0..<4 {
      let (rig, gate) = try played(shape)
      var queue = try rig.device.makeQueue()
      var player = Player(queue, rig, shape)
      for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      player.end(player.takeAll()[...])
      let before = queue.takeAll(taken, 2)
      rig.device.reset()
      let after = queue.takeAll(4 - taken, 5000)
      #expect((before + after).map(\.tag).sorted() == [0, 1, 2, 3], "taken \(taken)")
      gate.open()
      for _ in 0..<40 {
        let works = try queue.works(rig)
        #expect(works)
      }
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test(
    "row 52: arming inside a batch says that there is something to reap", arguments: Shape.large)
  func arming(shape: Shape) throws {
    let bench = try Bench {
      shape.apply(to: &$0)
      $0.mode = .stepped
    } options: {
      $0.interrupts = true
    }
    var queue = try bench.device.makeQueue()
    for tag in 0..<3 as Range<UInt64> {
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: tag) else {
        return
      }
    }
    queue.kick()
    bench.disk.serve(queue: 0)
    for _ in 0..<3 {
      let sleeps = queue.armInterrupt()
      #expect(!sleeps)
      let done = queue.nextSummary()
      #expect(done != nil)
    }
    let sleeps = queue.armInterrupt()
    #expect(sleeps)
  }
}
