import Glibc
import VBlk

/// `vm-guest wake DEVICE COUNT`: reads one block after another of a disk of seed 0. By turns it
/// sleeps on the queue's eventfd until the block has come, polls for it, and polls for a while and
/// sleeps then. The disk must be slow, or there is nothing to sleep for.
enum Wake {
  static func run(_ device: Device, count: Int) throws -> Int32 {
    var queue = try device.makeQueue()
    guard let descriptor = queue.interruptDescriptor else { fail("no interrupt") }
    let blocks = Int(device.info.capacityBytes) / Pattern.blockByteCount
    let patiences: [UInt64] = [0, 1_000_000_000, 1_000_000]
    var slept = 0
    var polled = 0
    for index in 0..<count {
      let offset = UInt64(index * 7 % blocks * Pattern.blockByteCount)
      let buffer = try device.memory.allocate(byteCount: Pattern.blockByteCount)
      guard case .queued = queue.submitRead(at: offset, into: buffer, tag: UInt64(index)) else {
        fail("a read was not queued")
      }
      queue.kick()
      let patience = patiences[index % patiences.count]
      let start = nanoseconds()
      var done = false
      while !done, nanoseconds() - start < patience { done = reap(&queue, offset) }
      if done { polled += 1 }
      while !done {
        if queue.armInterrupt() {
          try wait(descriptor)
          slept += 1
          queue.disarmInterrupt()
        }
        done = reap(&queue, offset)
      }
    }
    say("reads \(count)")
    say("slept \(slept)")
    say("polled \(polled)")
    return slept > 0 && polled > 0 ? 0 : 1
  }

  private static func reap(_ queue: inout Queue, _ offset: UInt64) -> Bool {
    guard let done = queue.next() else { return false }
    guard done.result.code == nil, let buffer = done.buffer,
      Pattern.holds(buffer, seed: 0, at: offset)
    else { fail("the block at \(offset) is wrong: \(done.result)") }
    return true
  }

  /// Ten seconds without an interrupt is a lost one.
  private static func wait(_ descriptor: CInt) throws {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, 10_000) == 1 else { fail("no interrupt in 10 s") }
    var count: UInt64 = 0
    guard read(descriptor, &count, 8) == 8 else { fail("the eventfd can't be read") }
  }
}
