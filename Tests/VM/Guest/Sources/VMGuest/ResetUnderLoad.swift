import Glibc
import Synchronization
import VBlk

/// `vm-guest reset DEVICE KIND COUNT SEED OFFSET LENGTH QUEUES`: resets the device (KIND device)
/// or the whole function (KIND function: FLR) COUNT times under a load of writes; every operation
/// ends once, and afterwards the range is written again, whole.
enum ResetUnderLoad {
  static func run(
    _ device: Device, _ function: any PCIFunction, kind: String, count: Int, seed: UInt64,
    offset: UInt64, length: UInt64, queues: Int
  ) -> Int32 {
    let blocks = Int(length) / Pattern.blockByteCount
    let isOver = Shared()
    let writes = Shared()
    Workers.run(queues + 1) { number in
      do {
        if number == queues {
          try resets(device, function, kind, count, writes)
          isOver.value.store(1, ordering: .releasing)
          return
        }
        var load = try Load(device, depth: 16)
        var index = 0
        while isOver.value.load(ordering: .acquiring) == 0 {
          let block = (number + index * queues) % blocks
          if try load.write(seed, at: offset + UInt64(block * Pattern.blockByteCount)) {
            index += 1
            writes.value.wrappingAdd(1, ordering: .relaxed)
          } else if let code = load.refusal {
            fail("refused for good: \(code)")
          } else {
            load.reap()
          }
        }
        load.drain()
        let broken = load.failures.filter { $0.key != .reset }
        say("load \(number) \(load.summary) resets \(load.queue.statistics.resets)")
        guard load.submitted == load.ended, broken.isEmpty else {
          fail("ended wrongly: \(load.summary)")
        }
      } catch {
        fail("\(error)")
      }
    }
    return Fill.run(device, seed: seed, offset: offset, length: length, queues: queues, passes: 1)
  }

  /// Each reset comes after some more writes, so that all of them meet a load.
  private static func resets(
    _ device: Device, _ function: any PCIFunction, _ kind: String, _ count: Int, _ writes: Shared
  ) throws {
    for _ in 0..<count {
      let wanted = writes.value.load(ordering: .relaxed) + 50
      let limit = nanoseconds() + 60_000_000_000
      while writes.value.load(ordering: .relaxed) < wanted {
        if nanoseconds() > limit { fail("no writes for 60 s") }
        sched_yield()
      }
      if kind == "function" { try function.reset() } else { device.reset() }
    }
    let wanted = writes.value.load(ordering: .relaxed) + 50
    let limit = nanoseconds() + 60_000_000_000
    while writes.value.load(ordering: .relaxed) < wanted {
      if nanoseconds() > limit { fail("no writes for 60 s after the last reset") }
      sched_yield()
    }
  }
}

/// A number that threads share.
final class Shared: Sendable {
  let value = Atomic<Int>(0)
}
