import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do when it sets queues up: rows 33-42 of the driver checklist (virtio 1.2,
/// 4.1.5.1.3, 2.7). Rows are those of facts/virtio.md, 1a. Row 41 is in ``FeatureRuleTests``.
@Suite("Driver rules: queue set-up")
struct QueueRuleTests {
  @Test("row 33: a queue whose size reads 0 is not used")
  func absent() throws {
    var script = RecordingFunction.Script()
    script.load = { register, count, value in
      register == .queueSize && count == 1 ? 0 : value
    }
    let (error, function) = try Rig.refusal(
      script: script, disk: { $0.queues = 2 }, options: { $0.queues = 2 })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("queue 1") == true)
    #expect(error?.cause.contains("size 0") == true)
    #expect(function.events.stores(.queueEnable).isEmpty)
    #expect(function.closes == 1)
  }

  @Test("row 34: the size written is a power of two, at most the device's and as asked for")
  func sizes() throws {
    for most in [1, 2, 4, 8, 64, 256, 1024] {
      for depth in [1, 3, 5, 64, 200, 4000] {
        for indirect in [true, false] {
          guard indirect || most >= 4 else { continue }
          let rig = try Rig(
            disk: {
              $0.queueSize = most
              if !indirect { $0.withheld = .indirectDescriptors }
            }, options: { $0.depth = depth })
          let written = try #require(rig.function.events.stores(.queueSize).first)
          #expect(written > 0 && written & (written - 1) == 0)
          #expect(written <= UInt32(most))
          let slots = indirect ? Int(written) : Int(written) / 3
          #expect(rig.device.info.depth == slots)
          #expect(slots >= depth || written == UInt32(most), "\(most) \(depth) \(indirect)")
        }
      }
    }
  }

  @Test("row 35: everything of a queue is written before queue_enable = 1; 0 is never written")
  func enableLast() throws {
    let rig = try Rig(disk: { $0.queues = 4 }, options: { $0.queues = 4 })
    rig.device.reset()
    var selected: UInt32?
    var enabled = Set<UInt32>()
    for (register, value) in rig.function.events.compactMap(\.stored) {
      if register == .status, value == 0 { enabled = [] }
      if register == .queueSelect { selected = value }
      guard register.isCommon, register.offset >= CommonConfig.queueSize else { continue }
      let queue = try #require(selected)
      #expect(!enabled.contains(queue), "\(register) of queue \(queue) after it was enabled")
      guard register == .queueEnable else { continue }
      #expect(value == 1)
      enabled.insert(queue)
    }
    #expect(enabled == [0, 1, 2, 3])
    #expect(rig.disk.violations.isEmpty)
  }

  /// What a script saw of a queue's memory at the moment of queue_enable.
  final class Snapshot: @unchecked Sendable {
    // Written by the one thread that opens the device.
    var areas: [[UInt64: [UInt8]]] = []
    var selected: [UInt32] = []
  }

  @Test(
    "rows 36, 37: areas are aligned, apart, in one mapping, and the rings zero when enabled",
    arguments: [1, 2, 8, 256])
  func areas(size: Int) throws {
    let seen = Snapshot()
    var script = RecordingFunction.Script()
    script.beforeStore = { function, register, value in
      guard register == .queueEnable else { return }
      func address(_ offset: UInt64) -> UInt64 {
        let halves = Register.halves(offset)
        let low = function.events.stores(halves.low).last ?? 0
        let high = function.events.stores(halves.high).last ?? 0
        return UInt64(high) << 32 | UInt64(low)
      }
      var areas: [UInt64: [UInt8]] = [:]
      let counts: [(UInt64, Int)] = [
        (0x20, SplitLayout.descriptorByteCount(size: size)),
        (0x28, SplitLayout.availableByteCount(size: size)),
        (0x30, SplitLayout.usedByteCount(size: size)),
      ]
      for (offset, count) in counts {
        let start = address(offset)
        guard let first = function.mapper.host(start),
          let last = function.mapper.host(start + UInt64(count) - 1),
          last - first == count - 1
        else { return }
        areas[start] = Array(UnsafeRawBufferPointer(start: first, count: count))
      }
      seen.areas.append(areas)
    }
    let rig = try Rig(
      script: script,
      disk: {
        $0.queueSize = size
        $0.queues = 2
      },
      options: {
        $0.queues = 2
        $0.depth = size
      })
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    rig.device.reset()
    let nothing = queue.take(1)
    #expect(nothing == nil)
    #expect(seen.areas.count == 4, "two queues, twice: a restart zeroes what was used")
    for areas in seen.areas {
      let starts = areas.keys.sorted()
      #expect(starts.count == 3)
      #expect(starts[0] % 16 == 0 && starts[1] % 2 == 0 && starts[2] % 4 == 0)
      for (one, next) in zip(starts, starts.dropFirst()) {
        #expect(one + UInt64(areas[one]?.count ?? 0) <= next, "areas overlap")
      }
      #expect(areas[starts[1]]?.allSatisfy { $0 == 0 } == true, "available ring")
      #expect(areas[starts[2]]?.allSatisfy { $0 == 0 } == true, "used ring, flags too")
    }
    let all = seen.areas.prefix(2).flatMap(\.keys)
    #expect(Set(all).count == 6, "queues share nothing")
  }

  @Test("row 38: read-only registers are never written, and the configuration neither")
  func readOnlyRegisters() throws {
    let rig = try Rig(disk: { $0.queues = 2 }, options: { $0.queues = 2 })
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    try queue.flush()
    rig.device.reset()
    let forbidden: [UInt64] = [0x04, 0x12, 0x15, 0x1E, 0x38, 0x3A, 0x3C, 0x3E]
    for (register, _) in rig.function.events.compactMap(\.stored) {
      #expect(!register.isCommon || !forbidden.contains(register.offset), "\(register)")
      #expect(!register.isConfig, "\(register): writeback is not written unasked (row 62)")
    }
  }

  @Test("row 39: every vector is read back, for any table size", arguments: [0, 1, 2, 2048])
  func vectors(count: Int) throws {
    let rig = try Rig(
      disk: {
        $0.interruptVectors = count
        $0.queues = 2
      }, options: { $0.queues = 2 })
    let events = rig.function.events.registers
    let places = events.indices.filter {
      [.queueVector, .configVector].contains(events[$0].stored?.register)
    }
    #expect(places.count == (count == 0 ? 0 : 3))
    for place in places {
      let register = try #require(events[place].stored?.register)
      #expect(events[place + 1] == .load(register, 0xFFFF), "read back at once")
    }
    #expect(rig.disk.violations.isEmpty)
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 39: a vector that reads back otherwise is a refusal")
  func vectorRefused() throws {
    var script = RecordingFunction.Script()
    script.load = { register, _, value in register == .queueVector ? 0 : value }
    let (error, function) = try Rig.refusal(script: script)
    #expect(error?.code == .deviceUnavailable)
    #expect(
      error?.cause.contains("vector 65535 for queue 0") == true, "\(error?.cause ?? "opened")")
    #expect(function.events.stores(.queueEnable).isEmpty)
    #expect(function.closes == 1)
  }

  @Test("row 40: a polled device is never asked for its interrupt status")
  func interruptStatus() throws {
    let rig = try Rig(disk: { $0.hostility = .configInterruptStorm })
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    _ = queue.take(5000)
    let isr = rig.function.events.compactMap(\.register).filter {
      (Register.interruptStatusOffset..<Register.configOffset).contains($0.offset)
    }
    #expect(isr.isEmpty)
  }

  @Test("row 42: no more queues than num_queues, common num_queues, and 1 without MQ")
  func queueCounts() throws {
    var few = RecordingFunction.Script()
    few.load = { register, _, value in register == .queueCount ? 2 : value }
    let cases: [(RecordingFunction.Script, Features, Int)] = [
      (RecordingFunction.Script(), [], 4), (few, [], 2),
      (RecordingFunction.Script(), .multiQueue, 1),
    ]
    for (script, withheld, available) in cases {
      let (error, function) = try Rig.refusal(
        script: script,
        disk: {
          $0.queues = 4
          $0.withheld = withheld
        }, options: { $0.queues = available + 1 })
      #expect(error?.code == .invalidArgument)
      #expect(error?.cause.contains("has \(available) queues, \(available + 1) were") == true)
      #expect(function.events.stores(.queueEnable).isEmpty)
      #expect(function.closes == 1)
      let rig = try Rig(
        script: script,
        disk: {
          $0.queues = 4
          $0.withheld = withheld
        }, options: { $0.queues = available })
      #expect(rig.device.info.availableQueues == available)
      #expect(rig.function.events.stores(.queueEnable).count == available)
    }
  }
}
