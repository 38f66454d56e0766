import Glibc
import Synchronization
import VBlk

/// `vm-guest fill ADDRESS SEED OFFSET LENGTH QUEUES PASSES`: writes a range, each queue every
/// QUEUES-th block, and flushes after every 32: "flushed Q N" says that the first N blocks of queue
/// Q are durable. An error ends it: "ended Q CODE", and exit 2.
///
/// Whatever happens, everything that was submitted ends exactly once; "load Q …" says so.
enum Fill {
  static let blocksAFlush = 32

  /// What one queue writes.
  private struct Share {
    let seed: UInt64
    let offset: UInt64
    let number: Int
    let queues: Int
    let count: Int

    func place(_ index: Int) -> UInt64 {
      offset + UInt64((number + index * queues) * Pattern.blockByteCount)
    }
  }

  static func run(
    _ device: Device, seed: UInt64, offset: UInt64, length: UInt64, queues: Int, passes: Int
  ) -> Int32 {
    let blocks = Int(length) / Pattern.blockByteCount
    let failures = Shared()
    Workers.run(queues) { number in
      do {
        var load = try Load(device, depth: 16)
        let share = Share(
          seed: seed, offset: offset, number: number, queues: queues,
          count: (blocks - number + queues - 1) / queues)
        var code: VBlkError.Code?
        for _ in 0..<passes where code == nil { code = try fill(&load, share) }
        load.drain()
        say("load \(number) \(load.summary)")
        guard load.submitted == load.ended else { fail("operations are missing") }
        if let code {
          say("ended \(number) \(code)")
          failures.value.wrappingAdd(1, ordering: .relaxed)
        }
      } catch {
        fail("\(error)")
      }
    }
    return failures.value.load(ordering: .relaxed) == 0 ? 0 : 2
  }

  /// One pass; nil, or with what it ended.
  private static func fill(_ load: inout Load, _ share: Share) throws -> VBlkError.Code? {
    var next = 0
    while next < share.count {
      let end = min(next + blocksAFlush, share.count)
      while next < end {
        if try load.write(share.seed, at: share.place(next)) {
          next += 1
        } else {
          load.reap()
          if let code = load.failures.keys.first ?? load.refusal { return code }
        }
      }
      load.drain()
      if let code = load.failures.keys.first { return code }
      do {
        try load.queue.flush()
      } catch {
        return error.code
      }
      say("flushed \(share.number) \(next)")
    }
    return nil
  }
}
