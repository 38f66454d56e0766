import Synchronization
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// One dio over several queues, the threads' steps taken by hand.
@Suite("Spread dios", .onEachRing)
struct SpreadTests {
  @Test("parts are whole blocks, in order, and cover the range once", arguments: 1...4)
  func split(members: Int) throws {
    let device = try Bench(bytes: 1 << 20).device
    for partBytes: UInt64 in [1, 512, 4096, 1 << 16] {
      let layout = SpreadLayout(
        volumes: [
          .init(device: device, base: 0, byteCount: 8192, blockMask: 511, members: 0..<members),
          .init(
            device: device, base: 8192, byteCount: 4096, blockMask: 4095,
            members: members..<members + 1),
        ], partBytes: partBytes)
      for start in stride(from: UInt64(0), to: 12_000, by: 300) {
        for count in [1, 511, 512, 513, 4096, 7000] as [UInt64] where start + count <= 12_288 {
          var next = start
          var used: Set<Int> = []
          layout.split(start..<start + count) { volume, share in
            let base: UInt64 = volume == 0 ? 0 : 8192
            #expect(share.start + base == next && share.sourceOffset == next - start)
            #expect(share.byteCount > 0 && used.insert(share.member).inserted)
            #expect(layout.volumes[volume].members.contains(share.member))
            next += share.byteCount
            if next < start + count { #expect((next - base) & 511 == 0 || next == 8192) }
          }
          #expect(next == start + count, "\(start) + \(count), parts of \(partBytes)")
        }
      }
    }
  }

  @Test(
    "what is written through a group is what its devices hold, aligned or not",
    arguments: [1, 2], [UInt64(11), 12, 13])
  func roundTrips(devices: Int, seed: UInt64) throws {
    var bench = try SpreadBench(devices: devices, bytes: 16 << 10)
    var random = Seeded(seed)
    let size = Int(bench.home.byteCount)
    #expect(size == devices * (16 << 10))
    var model = [UInt8](repeating: 0, count: size)
    for round in 1...200 {
      let start = Int.random(in: 0..<size, using: &random)
      let count = min(size - start, Int.random(in: 1...9000, using: &random))
      let writes = Bool.random(using: &random)
      let durable = Bool.random(using: &random)
      let data = try bench.buffer(count) { UInt8(truncatingIfNeeded: $0 &* 7 &+ round) }
      let admission = bench.submit(
        writes ? .write : .read, at: UInt64(start), data, tag: UInt64(round),
        durable: writes && durable)
      guard admission == .accepted(byteCount: UInt64(count)) else {
        Issue.record("seed \(seed), round \(round): \(admission)")
        return
      }
      let done = bench.finish()
      guard let done, done.tag == UInt64(round), done.result == IOResult(success: count) else {
        Issue.record("seed \(seed), round \(round): no result, or not that of \(count) bytes")
        return
      }
      let bytes = done.buffer?.contents ?? []
      if writes {
        model.replaceSubrange(start..<start + count, with: bytes)
      } else {
        #expect(bytes == Array(model[start..<start + count]), "seed \(seed), round \(round)")
      }
    }
    let atRest = bench.isAtRest
    #expect(atRest)
    for (number, device) in bench.devices.enumerated() {
      var queue = try device.makeQueue()
      var all = try bench.buffer(16 << 10)
      if number == 1 { all = try device.memory.allocate(byteCount: 16 << 10) }
      try queue.read(at: 0, into: &all)
      let held = all.contents
      #expect(held == Array(model[number * (16 << 10)..<(number + 1) * (16 << 10)]))
    }
    bench.retire()
  }

  @Test("T02 complete-inside-kick, spread: nothing ends before the loop runs, then once")
  func insideKick() throws {
    var bench = try SpreadBench()
    let admission = bench.submit(.read, at: 0, try bench.buffer(2048))
    #expect(admission == .accepted(byteCount: 2048))
    for _ in 0..<100 {
      let early = bench.home.next() == nil
      #expect(early)
    }
    _ = bench.loop.round()
    let result = bench.home.next()?.result
    #expect(result == IOResult(success: 2048))
    let isOver = bench.home.next() == nil && bench.isAtRest
    #expect(isOver)
    bench.retire()
  }

  @Test("T03 complete-before-submission-ends, spread: the other part ends before the submit does")
  func beforeSubmissionEnds() throws {
    var bench = try SpreadBench()
    let block = try bench.buffer(2048).intoReference()
    guard let index = bench.home.reserve(.read, 1, 0) else {
      Issue.record("nothing to reserve")
      return
    }
    bench.home.table.records[index].source = .buffer(block)
    bench.home.addParts(index, .read, 0..<2048)
    let shared = bench.home.table.shared.place(index)
    #expect(shared.value.count.load(ordering: .relaxed) == 3)
    _ = bench.loop.round()
    #expect(shared.value.count.load(ordering: .relaxed) == 2)
    let ended = bench.home.dropOwn(index)
    #expect(ended == nil)
    let result = bench.finish()?.result
    #expect(result == IOResult(success: 2048))
    let atRest = bench.isAtRest
    #expect(atRest)
    bench.retire()
  }

  @Test("T04 all-raced, spread: all parts end before the submitter's drop, which is the last")
  func allRaced() throws {
    var bench = try SpreadBench(devices: 2)
    let block = try bench.buffer(2048).intoReference()
    // All of it lies on the second device: home has no part.
    let start = bench.home.layout.volumes[1].base
    guard let index = bench.home.reserve(.read, 2, 0) else {
      Issue.record("nothing to reserve")
      return
    }
    bench.home.table.records[index].source = .buffer(block)
    bench.home.addParts(index, .read, start..<start + 2048)
    while bench.loop.round() {}
    let inboxIsEmpty = bench.home.table.inbox.isEmpty
    #expect(inboxIsEmpty, "a drop that was not the last hands nothing over")
    let ended = bench.home.dropOwn(index)
    #expect(ended == IOResult(success: 2048))
    _ = DMABuffer(block)
    let isOver = bench.home.next() == nil && bench.isAtRest
    #expect(isOver, "never also notified")
    bench.retire()
  }

  @Test("T62 dsync-raced, spread: data done before the submitter's drop, FLUSH all the same")
  func flushRaced() throws {
    var bench = try SpreadBench(devices: 2)
    let block = try bench.buffer(2048).intoReference()
    let start = bench.home.layout.volumes[1].base
    guard let index = bench.home.reserve(.write, 2, 2) else {
      Issue.record("nothing to reserve")
      return
    }
    bench.home.table.records[index].source = .buffer(block)
    bench.home.addParts(index, .write, start..<start + 2048)
    while bench.loop.round() {}
    let ended = bench.home.dropOwn(index)
    #expect(ended == nil)
    let before = bench.loop.queue.statistics.requests
    let early = bench.home.next() == nil
    #expect(early)
    let result = bench.finish()?.result
    #expect(result == IOResult(success: 2048))
    let after = bench.loop.queue.statistics.requests
    #expect(after == before + 1)
    bench.retire()
  }

  @Test("T58 dsync-order, spread: one FLUSH a device, after all data of all devices")
  func flushOrder() throws {
    var bench = try SpreadBench(devices: 2, mode: .stepped)
    let size = Int(bench.home.byteCount)
    let admission = bench.submit(.write, at: 0, try bench.buffer(size), durable: true)
    #expect(admission == .accepted(byteCount: UInt64(size)))
    bench.home.queue.kick()
    _ = bench.loop.round()
    // Neither device is asked to flush while the other still writes.
    let first = bench.disks[0].fetchAll(queue: 0)
    let second = bench.disks[1].fetchAll(queue: 0)
    #expect(first.count == 1 && second.count == 1)
    for request in first { try bench.disks[0].complete(request) }
    let early = bench.home.next() == nil
    #expect(early && bench.disks[0].fetchAll(queue: 0).isEmpty)
    for request in second { try bench.disks[1].complete(request) }
    _ = bench.loop.round()
    let stillEarly = bench.home.next() == nil
    #expect(stillEarly)
    _ = bench.loop.round()
    for disk in bench.disks {
      let flushes = disk.fetchAll(queue: 0)
      #expect(try flushes.map { try disk.describe($0).type } == [RequestType.flush.rawValue])
      for flush in flushes { try disk.complete(flush) }
    }
    let result = bench.finish()?.result
    #expect(result == IOResult(success: size))
    let atRest = bench.isAtRest
    #expect(atRest)
    bench.retire()
  }

  @Test("T59 flush-fails, T61 data-error-then-flush, spread: the error is the result, once")
  func flushErrors() throws {
    for devices in [1, 2] {
      for failing in [Set<RequestType>([.flush]), [.write]] {
        var bench = try SpreadBench(devices: devices)
        bench.disks[devices - 1].setFaults([FaultRule(.status(1), operations: failing)])
        let size = Int(bench.home.byteCount)
        let admission = bench.submit(.write, at: 0, try bench.buffer(size), durable: true)
        #expect(admission == .accepted(byteCount: UInt64(size)))
        let result = bench.finish()?.result
        #expect(result == IOResult(byteCount: 0, code: .ioError))
        let requests = bench.disks.reduce(0) {
          $0 + $1.counters(queue: 0).requests + $1.counters(queue: 1).requests
        }
        // The two parts alone where the data failed; with a FLUSH a device otherwise.
        #expect(requests == (failing == [.write] ? 2 : 2 + UInt64(devices)))
        let isOver = bench.home.next() == nil && bench.isAtRest
        #expect(isOver)
        bench.retire()
      }
    }
  }

  @Test("T07 first-error-wins, spread: the first recorded stays, in either order")
  func firstError() throws {
    for homeFirst in [true, false] {
      var bench = try SpreadBench(mode: .stepped)
      // Each half is a part; one fails with IOERR, the other with UNSUPP.
      bench.disks[0].setFaults([
        FaultRule(.status(1), sectors: 0..<4), FaultRule(.status(2), sectors: 4..<8),
      ])
      _ = bench.submit(.read, at: 0, try bench.buffer(4096))
      bench.home.queue.kick()
      _ = bench.loop.round()
      let ofHome = bench.disks[0].fetchAll(queue: 0)
      let ofLoop = bench.disks[0].fetchAll(queue: 1)
      #expect(ofHome.count == 1 && ofLoop.count == 1)
      for first in [homeFirst, !homeFirst] {
        for request in first ? ofHome : ofLoop { try bench.disks[0].complete(request) }
        if first { bench.home.attend() } else { _ = bench.loop.round() }
      }
      let code = bench.finish()?.result.code
      #expect(code == (homeFirst ? .ioError : .unsupported))
      bench.retire()
    }
  }

  @Test("T18 nowait-all-or-nothing, spread: no record or no slot of home is busy, nothing pushed")
  func busy() throws {
    var bench = try SpreadBench(mode: .stepped, depth: 2)
    for _ in 0..<2 {
      let admission = bench.submit(.read, at: 0, try bench.buffer(1024))
      #expect(admission == .accepted(byteCount: 1024))
    }
    let admission = bench.submit(.read, at: 0, try bench.buffer(1024))
    #expect(admission == .refused(.busy))
    bench.home.queue.kick()
    _ = bench.loop.round()
    for queue in 0..<2 { bench.disks[0].serve(queue: queue) }
    _ = bench.finish()
    let again = bench.submit(.read, at: 0, try bench.buffer(1024))
    #expect(again == .accepted(byteCount: 1024), "one delivered is one more")
    bench.home.queue.kick()
    _ = bench.loop.round()
    for queue in 0..<2 { bench.disks[0].serve(queue: queue) }
    var ended = 0
    while let done = bench.finish(rounds: 100), done.result.code == nil { ended += 1 }
    #expect(ended == 2)
    bench.retire()
  }

  @Test("refusals: range, read-only, foreign memory, closed; each with nothing done")
  func refusals() throws {
    var bench = try SpreadBench(devices: 2)
    let size = bench.home.byteCount
    let cases: [(VBlkDriver.Operation, UInt64, VBlkDriver.Queue.Admission)] = [
      (.read, size, .ended(IOResult(success: 0))), (.read, .max, .refused(.invalidArgument)),
      (.write, size, .refused(.noSpace)), (.write, size - 512, .refused(.noSpace)),
    ]
    for (operation, offset, expected) in cases {
      let admission = bench.submit(operation, at: offset, try bench.buffer(1024))
      #expect(admission == expected, "\(operation) at \(offset)")
    }
    let foreign = try bench.devices[1].memory.allocate(byteCount: 512)
    let admission = bench.submit(.read, at: 0, foreign)
    #expect(admission == .refused(.foreignMemory), "it is mapped for one device only")
    let untouched = bench.isAtRest && bench.loop.queue.statistics.requests == 0
    #expect(untouched)
    bench.home.close()
    let late = bench.submit(.read, at: 0, try bench.buffer(512))
    #expect(late == .refused(.closed))
    bench.retire()
  }

  @Test("a member that was closed ends its part with closed; the dio ends once")
  func closedMember() throws {
    for closesFirst in [true, false] {
      var bench = try SpreadBench()
      if closesFirst { bench.loop.close() }
      _ = bench.submit(.read, at: 0, try bench.buffer(2048))
      if !closesFirst { bench.loop.close() }
      var ended = 0
      for _ in 0..<100 {
        bench.home.queue.kick()
        guard let done = bench.home.next() else { continue }
        ended += 1
        let code = done.result.code
        #expect(code == .closed)
      }
      #expect(ended == 1)
      let homeAtRest = bench.home.queue.isAtRest
      #expect(homeAtRest)
      bench.retire()
    }
  }

  @Test(
    "T38 reset-vs-submit, spread: a reset between any two steps strands nothing",
    arguments: [1, 2], [false, true])
  func resetAnywhere(devices: Int, durable: Bool) throws {
    for stop in 0..<12 {
      for victim in 0..<devices {
        var bench = try SpreadBench(devices: devices, mode: .stepped)
        let size = Int(bench.home.byteCount)
        let steps = 12
        var ended: [IOResult] = []
        for step in 0..<steps {
          if step == stop { bench.devices[victim].reset() }
          switch step {
          case 0:
            let admission = bench.submit(
              .write, at: 0, try bench.buffer(size), durable: durable)
            if case .accepted = admission { break }
            #expect(admission == .refused(.resetting))
          case 1, 7: bench.home.queue.kick()
          case 2: bench.loop.takeParts()
          case 3: bench.loop.beginParts()
          case 4: bench.loop.queue.kick()
          case 5, 8, 10: for disk in bench.disks { serve(disk) }
          case 6: _ = bench.loop.round()
          default: if let done = bench.home.next() { ended.append(done.result) }
          }
        }
        // A queue with nothing to do looks whether the device runs again once a tick of polls.
        for _ in 0..<1200 {
          _ = bench.loop.round()
          if let done = bench.home.next() { ended.append(done.result) }
          for disk in bench.disks { serve(disk) }
        }
        let place = "\(devices) devices, durable \(durable), reset of \(victim) before \(stop)"
        #expect(ended.count <= 1, "\(place)")
        let right = ended.allSatisfy {
          $0 == IOResult(success: size) || $0.code == .reset
        }
        #expect(right, "\(place): \(ended)")
        let atRest = bench.isAtRest
        #expect(atRest, "\(place)")
        #expect(ended.count == 1 || stop == 0, "\(place)")
        bench.retire()
      }
    }
  }

  // With RING_RESET a late operation resets its queue alone, whose slots are all free then: one
  // that
  // was kept for a FLUSH was handed out twice.
  @Test("T37 reset-in-flight, spread: a reset of home's queue alone gives the FLUSH's slot back")
  func queueReset() throws {
    var bench = try SpreadBench(mode: .stepped) { $0.extra.insert(.ringReset) }
    _ = bench.submit(.write, at: 0, try bench.buffer(4096), durable: true)
    bench.home.queue.kick()
    _ = bench.loop.round()
    let reserved = bench.home.queue.state.reservedCount
    #expect(reserved == 1)
    try bench.home.queue.reset()
    let depth = bench.home.queue.depth
    let free = bench.home.queue.freeCount
    #expect(free == depth)
    for _ in 0..<10 {
      serve(bench.disks[0])
      _ = bench.loop.round()
    }
    let code = bench.finish()?.result.code
    #expect(code == .reset)
    let atRest = bench.isAtRest
    #expect(atRest)
    bench.retire()
  }

  private func serve(_ disk: EmulatedDisk) {
    for queue in 0..<3 { disk.serve(queue: queue) }
  }
}

extension EmulatedDisk {
  /// Takes every available request of a queue in stepped mode.
  func fetchAll(queue: Int) -> [RequestHandle] {
    var handles: [RequestHandle] = []
    while handles.count < 65_536, let handle = fetch(queue: queue) { handles.append(handle) }
    return handles
  }
}
