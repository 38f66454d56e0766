import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do with a packed ring: rows 53-56 of the driver checklist (virtio 1.2,
/// 2.8). Rows are those of facts/virtio.md, 1a.
///
/// Not tested here: the order of row 56, which one thread can't show (the two-thread tests run it;
/// PackedRing names each fence).
@Suite("Driver rules: packed ring")
struct PackedRingTests {
  /// A ring's size and whether it has INDIRECT_DESC.
  struct Shape: CustomTestStringConvertible, Sendable {
    let size: Int
    let isIndirect: Bool
    var segMax: UInt32 = 126

    var testDescription: String { "size \(size) indirect \(isIndirect) segMax \(segMax)" }

    static let all =
      [1, 2, 3, 5, 16].map { Shape(size: $0, isIndirect: true) }
      + [3, 4, 5, 7, 16, 31].map { Shape(size: $0, isIndirect: false) }
      + [Shape(size: 31, isIndirect: false, segMax: 4)]

    func apply(to configuration: inout EmulatedDisk.Configuration) {
      configuration.extra = .ringPacked
      configuration.queueSize = size
      configuration.segMax = segMax
      if !isIndirect { configuration.withheld = .indirectDescriptors }
    }
  }

  /// A device whose ring the test plays, and the queue's view.
  private func gated(
    _ shape: Shape, eventIndex: Bool = true
  ) throws -> (rig: Rig, gate: Gate) {
    try Gate.rig(
      disk: {
        shape.apply(to: &$0)
        if !eventIndex { $0.withheld.insert(.eventIndex) }
      }, options: { $0.depth = 128 })
  }

  @Test(
    "row 24: RING_PACKED is accepted where it is offered and not declined; sizes are any number")
  func negotiation() throws {
    for shape in Shape.all {
      let rig = try Rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
      #expect(rig.device.info.accepted.contains(.ringPacked))
      #expect(rig.device.info.queueSizes == [shape.size])
      #expect(rig.device.info.depth == (shape.isIndirect ? shape.size : shape.size / 3))
    }
    let declined = try Rig(
      disk: { $0.extra = .ringPacked }, options: { $0.declinedFeatures = .ringPacked })
    #expect(!declined.device.info.accepted.contains(.ringPacked))
    var queue = try declined.device.makeQueue()
    let works = try queue.works(declined)
    #expect(works)
    let chosen = try Rig(disk: { $0.extra = .ringPacked }, options: { $0.depth = 100 })
    #expect(chosen.device.info.queueSizes == [100], "the depth that was asked for")
    let (error, _) = try Rig.refusal(disk: {
      $0.extra = .ringPacked
      $0.withheld = .indirectDescriptors
      $0.queueSize = 2
    })
    #expect(error?.code == .deviceUnavailable)
  }

  @Test("row 36: a layout's ids and areas, for every size that a ring may have")
  func layouts() throws {
    for size in Array(1...70) + [1000, 32_767, 32_768] {
      for isIndirect in [true, false] {
        let layout = QueueLayout(
          size: size, isPacked: true, isIndirect: isIndirect, maxSegments: 126)
        guard isIndirect || size >= 3 else {
          #expect(layout == nil)
          continue
        }
        let made = try #require(layout)
        #expect(made.slotCount == (isIndirect ? size : size / 3))
        #expect(made.headLimit == made.slotCount && made.headStride == 1)
        #expect(made.availOffset >= 16 * size && made.usedOffset >= made.availOffset + 4)
        #expect(made.requestsOffset >= made.usedOffset + 4)
        #expect(isIndirect || made.maxSegments + 2 <= size)
      }
    }
    for size in [0, -1, 32_769] {
      #expect(
        QueueLayout(size: size, isPacked: true, isIndirect: true, maxSegments: 1) == nil)
    }
  }

  // MARK: - Rows 53-55

  @Test("rows 53-55: lists are whole, marked right, alike in id, and shown by the kick alone")
  func lists() throws {
    for shape in Shape.all {
      let (rig, _) = try gated(shape)
      var queue = try rig.device.makeQueue()
      var ring = PackedView(queue, rig.function)
      for step in 0..<60 as Range<UInt64> {
        let submitted = try submit(&queue, rig, step)
        let hidden = ring.take()
        #expect(hidden == nil, "nothing is shown before the kick")
        var expected = submitted
        for _ in 0..<2000 where expected > 0 {
          queue.kick()
          let lists = ring.takeAll()
          for list in lists { expectGood(list, ring, shape) }
          #expect(Set(lists.map(\.id)).count == lists.count)
          for list in lists.reversed() { ring.complete(list) }
          while queue.take(2) != nil { expected -= 1 }
        }
        #expect(expected == 0, "step \(step) \(shape.testDescription)")
      }
      #expect(ring.taken == ring.used && ring.taken > 4 * shape.size, "many turns")
      #expect(queue.statistics.violations == 0)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  /// Submits one or several operations of one kind; how many were queued.
  private func submit(_ queue: inout Queue, _ rig: Rig, _ step: UInt64) throws -> Int {
    switch step % 6 {
    case 0: return try queue.queueRead(rig, at: 512, 512, tag: step) ? 1 : 0
    case 1:
      var list = SegmentList(segmentCapacity: 24)
      for index in 0..<24 { list.append(try rig.buffer(512 << (index % 3))) }
      if case .queued = queue.submitRead(at: 4096, into: list, tag: step) { return 1 }
      return 0
    case 2:
      let part = try rig.buffer(1000)
      if case .queued = queue.submitWrite(at: 100, from: part, tag: step) { return 1 }
      return 0
    case 3: return queue.submitFlush(tag: step) == .queued ? 1 : 0
    case 4: return queue.submitDiscard(at: 0, byteCount: 65536, tag: step) == .queued ? 1 : 0
    default:
      var count = 0
      while try queue.queueRead(rig, at: 0, 4096, tag: step) { count += 1 }
      return count
    }
  }

  private func expectGood(_ list: PackedView.List, _ ring: PackedView, _ shape: Shape) {
    #expect(list.descriptors.count <= shape.size)
    #expect(list.buffers.count >= 2)
    for (index, descriptor) in list.descriptors.enumerated() {
      #expect(descriptor.id == list.id && Int(descriptor.id) < shape.size)
      let isLast = index == list.descriptors.count - 1
      #expect(descriptor.flags.contains(.next) != isLast)
      #expect(descriptor.flags.contains(.indirect) == shape.isIndirect)
      let turns: DescriptorFlags = [.available, .used]
      #expect(
        descriptor.flags.intersection(turns) == ring.turn(list.place + index, isUsed: false))
    }
    if shape.isIndirect {
      #expect(list.descriptors.count == 1)
      #expect(list.descriptors[0].length % 16 == 0)
      #expect(list.buffers.allSatisfy { $0.flags.subtracting(.write).isEmpty })
    }
    let writable = list.buffers.map { $0.flags.contains(.write) }
    #expect(writable.first == false && writable.last == true)
    #expect(writable == writable.sorted { !$0 && $1 }, "writable ones last")
    #expect(list.buffers[0].length == 16 && list.buffers.last?.length == 1)
    #expect(list.buffers.allSatisfy { $0.length > 0 })
  }

  @Test("row 56: the driver asks for no interrupts")
  func interrupts() throws {
    let (rig, _) = try gated(Shape(size: 5, isIndirect: true))
    let queue = try rig.device.makeQueue()
    #expect(PackedView(queue, rig.function).driverEvent >> 16 == 1)
  }

  // MARK: - Row 56: used descriptors

  /// A thing that no device may do, with four reads (tags 0-3) published, of which 0 and 1 have
  /// ended.
  struct Blow: CustomTestStringConvertible, Sendable {
    let name: String
    let reason: VBlkDriver.Violation.Reason
    /// Whether tag 2 ends well before.
    var ends2 = false
    let strike: @Sendable (inout PackedView, [PackedView.List]) -> Void

    var testDescription: String { name }
  }

  static let blows: [Blow] =
    ([48, 127, 0x7FFF, 0xFFFF] as [UInt16]).map { id in
      Blow(name: "id \(id)", reason: .usedIDOutOfRange) { ring, lists in
        ring.writeStatus(lists[2], 0)
        ring.pushUsed(id, 4097, span: 1)
      }
    } + [
      Blow(name: "never submitted", reason: .usedIDNotInFlight) { ring, _ in
        ring.pushUsed(13, 4097, span: 1)
      },
      Blow(name: "ended before", reason: .usedIDNotInFlight) { ring, lists in
        ring.pushUsed(lists[0].id, 4097, span: 1)
      },
      Blow(name: "twice", reason: .usedIDNotInFlight, ends2: true) { ring, lists in
        ring.complete(lists[2])
        ring.pushUsed(lists[2].id, 4097, span: 1)
      },
    ]
    + ([4098, 8192, 0x8000_0000, .max] as [UInt32]).map { length in
      Blow(name: "length \(length)", reason: .usedLengthTooLarge) { ring, lists in
        ring.writeStatus(lists[2], 0)
        ring.pushUsed(lists[2].id, length, span: 1)
      }
    }
    + ([4097, 1, 0] as [UInt32]).map { length in
      Blow(name: "no status, length \(length)", reason: .statusNotWritten) { ring, lists in
        ring.pushUsed(lists[2].id, length, span: 1)
      }
    }

  @Test(
    "row 56: a bad used descriptor breaks the queue with its reason, each operation ends once",
    arguments: blows, [true, false])
  func blow(_ blow: Blow, indirect: Bool) throws {
    for lead in [0, 1, 2, 3, 16, 31] {
      let (rig, gate) = try gated(Shape(size: indirect ? 16 : 48, isIndirect: indirect))
      var queue = try rig.device.makeQueue()
      var ring = PackedView(queue, rig.function)
      // The blow falls at different places, also across the ring's end.
      for _ in 0..<lead {
        _ = try queue.queueRead(rig, tag: 9)
        queue.kick()
        for list in ring.takeAll() { ring.complete(list) }
        let ended = queue.take()
        #expect(ended == Ended(tag: 9, bytes: 4096))
      }
      for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let lists = ring.takeAll()
      #expect(lists.count == 4)
      ring.complete(lists[0])
      ring.complete(lists[1])
      let before = queue.takeAll(2)
      #expect(before == [Ended(tag: 0, bytes: 4096), Ended(tag: 1, bytes: 4096)])
      blow.strike(&ring, lists)
      let after = queue.takeAll(2, 5000).sorted { $0.tag < $1.tag }
      let second =
        blow.ends2 ? Ended(tag: 2, bytes: 4096) : Ended(tag: 2, code: .protocolViolation)
      #expect(after == [second, Ended(tag: 3, code: .protocolViolation)])
      #expect(queue.state.lastViolation?.reason == blow.reason, "lead \(lead)")
      #expect(queue.statistics.violations == 1)
      gate.open()
      let works = try queue.works(rig)
      #expect(works)
      let atRest = queue.isAtRest
      #expect(atRest)
    }
  }

  @Test(
    "row 56: a used descriptor where nothing is in flight breaks the queue",
    arguments: [true, false])
  func unasked(indirect: Bool) throws {
    for isHeldBack in [true, false] {
      let (rig, gate) = try gated(Shape(size: 9, isIndirect: indirect))
      var queue = try rig.device.makeQueue()
      var ring = PackedView(queue, rig.function)
      if isHeldBack { _ = try queue.queueRead(rig, tag: 1) }
      ring.pushUsed(0, 4097, span: 1)
      let ended = queue.take(2000)
      #expect(ended == (isHeldBack ? Ended(tag: 1, code: .protocolViolation) : nil))
      #expect(queue.state.lastViolation?.reason == .usedIndexJumped)
      gate.open()
      let works = try queue.works(rig)
      #expect(works)
    }
  }

  @Test("row 56: the emulator's hostile switches: the reason is found, and the next call works")
  func switches() throws {
    let cases: [(Hostility, VBlkError.Code, VBlkDriver.Violation.Reason?)] = [
      (.usedIDOutOfRange, .protocolViolation, .usedIDOutOfRange),
      (.usedIDNotHead, .protocolViolation, .usedIDNotInFlight),
      (.usedLengthTooLong, .protocolViolation, .usedLengthTooLarge),
      (.usedLengthZero, .protocolViolation, .statusNotWritten),
      (.statusOutOfRange, .unknownStatus, nil), (.statusZoned, .unknownStatus, nil),
      (.usedLengthShort, .shortTransfer, nil),
    ]
    for (hostility, code, reason) in cases {
      for isIndirect in [true, false] {
        let shape = Shape(size: 48, isIndirect: isIndirect)
        let rig = try Rig(disk: { shape.apply(to: &$0) })
        var queue = try rig.device.makeQueue()
        rig.disk.misbehave(hostility, count: 1)
        var buffer = try rig.buffer()
        var seen: VBlkError?
        do throws(VBlkError) { try queue.read(at: 0, into: &buffer) } catch { seen = error }
        #expect(seen?.code == code, "\(hostility)")
        #expect(queue.state.lastViolation?.reason == reason, "\(hostility)")
        let works = try queue.works(rig)
        #expect(works, "\(hostility)")
        let atRest = queue.isAtRest
        #expect(atRest, "\(hostility)")
        #expect(rig.disk.violations.isEmpty, "\(hostility): \(rig.disk.violations)")
      }
    }
  }

  @Test(
    "row 56: meaningless bits of a used descriptor's flags have no effect",
    arguments: [true, false])
  func garbageFlags(indirect: Bool) throws {
    let shape = Shape(size: 7, isIndirect: indirect)
    let rig = try Rig(disk: { shape.apply(to: &$0) })
    rig.disk.misbehave(.usedFlagsGarbage)
    var queue = try rig.device.makeQueue()
    for _ in 0..<20 {
      let works = try queue.works(rig)
      #expect(works)
    }
    #expect(queue.statistics.violations == 0)
  }

  // MARK: - Kicks

  @Test("row 56: the event arithmetic equals a walk over the batch, for all places of small rings")
  func eventModel() throws {
    for size in 1...7 {
      let layout = try #require(
        QueueLayout(size: size, isPacked: true, isIndirect: true, maxSegments: 1))
      let memory = UnsafeMutableRawPointer.allocate(byteCount: layout.byteCount, alignment: 64)
      defer { memory.deallocate() }
      var ring = PackedRing(SharedRun(base: memory, deviceAddress: 0), layout: layout)
      for start in 0..<2 * size {
        for added in 1...size {
          ring.resume(
            at: PackedRing.Position(offset: start % size * 16, isFirstTurn: start < size))
          for id in 0..<UInt32(added) { ring.addTable(id) }
          let batch = Set((start..<start + added).map { $0 % (2 * size) })
          for event in 0..<2 * size {
            let word = UInt16(event % size) | (event < size ? 1 << 15 : 0)
            #expect(
              ring.passes(word) == batch.contains(event),
              "size \(size) start \(start) added \(added) event \(event)")
          }
          for beyond in size..<size + 3 { _ = ring.passes(UInt16(beyond)) }
          _ = ring.passes(.max)
        }
      }
    }
  }

  @Test("T17 kick-accounting: each flag, each event place, across the ring's end")
  func kickAccounting() throws {
    for (shape, isEventIndex) in [
      (Shape(size: 5, isIndirect: true), true), (Shape(size: 5, isIndirect: true), false),
      (Shape(size: 10, isIndirect: false), true), (Shape(size: 10, isIndirect: false), false),
    ] {
      let (rig, _) = try gated(shape, eventIndex: isEventIndex)
      var queue = try rig.device.makeQueue()
      var ring = PackedView(queue, rig.function)
      let span = shape.isIndirect ? 1 : 3
      var start = 0
      for round in 0..<200 {
        let count = round % queue.depth + 1
        let flags = UInt16(round / 3 % 4)
        let event = start + round % (2 * shape.size)
        ring.setEvent(flags: flags, position: event)
        for tag in 0..<UInt64(count) { _ = try queue.queueRead(rig, tag: tag) }
        let before = queue.statistics
        queue.kick()
        let end = start + span * count
        let isInBatch = (start..<end).contains { ($0 - event) % (2 * shape.size) == 0 }
        let isWanted = flags == 1 ? false : flags == 2 && isEventIndex ? isInBatch : true
        #expect(queue.statistics.kicks - before.kicks == (isWanted ? 1 : 0), "round \(round)")
        #expect(
          queue.statistics.suppressedKicks - before.suppressedKicks == (isWanted ? 0 : 1))
        for list in ring.takeAll() { ring.complete(list) }
        let ended = queue.takeAll(count)
        #expect(ended.count == count)
        start = end
      }
    }
  }

  // MARK: - Many turns, resets, hand-outs

  @Test("T36: 100,000 operations over many turns", arguments: Shape.all)
  func manyTurns(shape: Shape) throws {
    let rig = try Rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
    rig.function.stopRecording()
    var queue = try rig.device.makeQueue()
    let most = queue.depth
    var ended = 0
    var flying = 0
    // The rings that differ most make the whole way; it takes its time in debug builds.
    let goal = [1, 5, 7].contains(shape.size) || shape.segMax == 4 ? 100_000 : 5000
    for step in 0..<1_000_000 where ended < goal {
      while flying < max(1, step % (most + 1)) {
        guard case .queued = queue.submitRead(at: 4096, into: try rig.buffer(512), tag: 7) else {
          Issue.record("operation \(ended) was not queued")
          return
        }
        flying += 1
      }
      if step % 3 != 1 { queue.kick() }
      while let done = queue.next() {
        guard done.tag == 7, done.result == IOResult(byteCount: 512, code: nil) else {
          Issue.record("operation \(ended): \(done.result)")
          return
        }
        ended += 1
        flying -= 1
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

  @Test("row 54: a closed queue's places are those of the queue that is handed out next")
  func handedOutAgain() throws {
    for shape in Shape.all {
      let rig = try Rig(disk: { shape.apply(to: &$0) }, options: { $0.depth = 128 })
      for count in 0..<2 * shape.size + 2 {
        var queue = try rig.device.makeQueue()
        for _ in 0..<count { try queue.flush() }
        #expect(queue.statistics.violations == 0)
        let works = try queue.works(rig)
        #expect(works)
      }
      #expect(rig.disk.violations.isEmpty)
    }
  }

  @Test("row 54: a reset starts the first turn again, wherever it falls", arguments: [true, false])
  func resets(indirect: Bool) throws {
    let shape = Shape(size: 7, isIndirect: indirect)
    for count in 0..<16 {
      let rig = try Rig(disk: {
        shape.apply(to: &$0)
        $0.mode = .stepped
      })
      var queue = try rig.device.makeQueue()
      for _ in 0..<count {
        _ = try queue.queueRead(rig, tag: 1)
        queue.kick()
        rig.disk.serve(queue: 0)
        let ended = queue.take()
        #expect(ended == Ended(tag: 1, bytes: 4096))
      }
      // One in flight, one held back.
      _ = try queue.queueRead(rig, tag: 2)
      queue.kick()
      _ = try queue.queueRead(rig, tag: 3)
      rig.device.reset()
      let swept = queue.takeAll(2)
      #expect(swept == [Ended(tag: 2, code: .reset), Ended(tag: 3, code: .reset)])
      for _ in 0..<9 {
        _ = try queue.queueRead(rig, tag: 4)
        queue.kick()
        rig.disk.serve(queue: 0)
        let ended = queue.take()
        #expect(ended == Ended(tag: 4, bytes: 4096))
      }
      #expect(rig.disk.violations.isEmpty)
    }
  }
}
