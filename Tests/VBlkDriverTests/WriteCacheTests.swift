import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// The switch of the write cache: rows 16, 62 and 63 of the driver checklist (virtio 1.2, 5.2.5 and
/// 5.2.6.1), and T60: no FLUSH where there is nothing volatile.
@Suite("Write cache", .onEachRing)
struct WriteCacheTests {
  private func durableWrite(_ queue: inout Queue, _ rig: Rig) throws -> UInt64 {
    let before = queue.statistics.requests
    _ = try queue.write(at: 0, from: try rig.buffer(), durable: true)
    return queue.statistics.requests - before
  }

  private func flushes(_ queue: inout Queue) throws -> UInt64 {
    let before = queue.statistics.requests
    try queue.flush()
    return queue.statistics.requests - before
  }

  @Test("row 63, T60: durable writes follow the mode, in every order of switches")
  func follows() throws {
    for start in [true, false] {
      let rig = try Rig(disk: { $0.writeback = start })
      var queue = try rig.device.makeQueue()
      #expect(rig.device.writeCache == (start ? .writeBack : .writeThrough))
      for mode in [WriteCache.writeThrough, .writeThrough, .writeBack, .writeBack, .writeThrough] {
        try rig.device.setWriteCache(mode)
        #expect(rig.device.writeCache == mode)
        let requests = try durableWrite(&queue, rig)
        #expect(requests == (mode == .writeBack ? 2 : 1), "\(start) \(mode)")
      }
      #expect(rig.disk.violations.isEmpty)
    }
  }

  @Test("row 62: after a switch to write-through a FLUSH is still sent for what was written before")
  func flushAfterSwitch() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    _ = try queue.write(at: 0, from: try rig.buffer())
    try rig.device.setWriteCache(.writeThrough)
    let after = try flushes(&queue)
    #expect(after == 1)
    let other = try Rig(disk: { $0.writeback = false })
    var never = try other.device.makeQueue()
    let none = try flushes(&never)
    #expect(none == 0, "T60: nothing was ever volatile")
  }

  @Test("row 62: the mode at submission and at completion decide, and each switch in between")
  func switchedInFlight() throws {
    for (start, switches, flushes) in [
      (true, [WriteCache.writeThrough], true), (false, [.writeBack], true),
      (false, [.writeBack, .writeThrough], true), (true, [], true), (false, [], false),
      (false, [.writeThrough], false),
    ] {
      let rig = try Rig(disk: {
        $0.mode = .stepped
        $0.writeback = start
      })
      var queue = try rig.device.makeQueue()
      guard
        case .queued = queue.submitWrite(at: 0, from: try rig.buffer(), tag: 7, durable: true)
      else {
        Issue.record("refused")
        return
      }
      queue.kick()
      for mode in switches { try rig.device.setWriteCache(mode) }
      rig.disk.serve(queue: 0)
      let early = queue.take(50)
      #expect((early == nil) == flushes, "\(start) \(switches)")
      rig.disk.serve(queue: 0)
      let ended = early == nil ? queue.take() : early
      #expect(ended == Ended(tag: 7, bytes: 4096))
      #expect(queue.statistics.requests == (flushes ? 2 : 1))
    }
  }

  @Test("rows 15, 16: writeback is neither read nor written before FEATURES_OK, and read back")
  func accesses() throws {
    let rig = try Rig()
    try rig.device.setWriteCache(.writeThrough)
    let events = rig.function.events
    let agreed = try #require(
      events.firstIndex { $0.stored.map { $0.register == .status && $0.value & 8 != 0 } ?? false })
    let places = events.indices.filter {
      switch events[$0] {
      case .load(let register, _), .store(let register, _):
        register == .config(BlockConfigLayout.writeback, width: 1)
      default: false
      }
    }
    #expect(places.allSatisfy { $0 > agreed })
    let stores = places.filter { events[$0].stored != nil }
    #expect(stores.count == 1)
    #expect(places.contains((stores.first ?? 0) + 1), "read back at once")
  }

  @Test("a reset leaves the mode that was chosen, or what the device has after it")
  func afterReset() throws {
    for choice in [nil, WriteCache.writeThrough] {
      let rig = try Rig()
      var queue = try rig.device.makeQueue()
      if let choice { try rig.device.setWriteCache(choice) }
      rig.device.reset()
      _ = queue.take(1000)
      let works = try queue.works(rig)
      #expect(works)
      #expect(rig.device.writeCache == (choice ?? .writeBack))
      let requests = try durableWrite(&queue, rig)
      #expect(requests == (choice == nil ? 2 : 1))
    }
  }

  @Test("a device that can't switch, doesn't run or doesn't obey is named")
  func refused() throws {
    let fixed = try Rig(disk: { $0.withheld = .configWriteCache })
    #expect { try fixed.device.setWriteCache(.writeThrough) } throws: {
      ($0 as? VBlkError)?.code == .unsupported && "\($0)".contains("virtio 1.2, 5.2.5")
    }
    let closed = try Rig()
    closed.device.close()
    #expect { try closed.device.setWriteCache(.writeThrough) } throws: {
      ($0 as? VBlkError)?.code == .closed
    }
    var script = RecordingFunction.Script()
    script.store = { register, value in register.isConfig ? nil : value }
    let deaf = try Rig(script: script)
    #expect { try deaf.device.setWriteCache(.writeThrough) } throws: {
      ($0 as? VBlkError)?.code == .deviceUnavailable
    }
    #expect(deaf.device.writeCache == .writeBack, "what can't be known is taken for volatile")
  }
}
