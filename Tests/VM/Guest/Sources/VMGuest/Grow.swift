import Glibc
import VBlk

/// `vm-guest grow DEVICE BYTES COMMAND`: asks the host by COMMAND (a line of QMP) to let the disk
/// grow to BYTES, under a load of writes to its first half, and sees the new end.
enum Grow {
  static func run(_ device: Device, to bytes: UInt64, command: String) throws -> Int32 {
    let old = device.info.capacityBytes
    var load = try Load(device, depth: 16)
    var reader = try device.makeQueue()
    var buffer = try device.memory.allocate(byteCount: Pattern.blockByteCount)
    let beyond = bytes - UInt64(Pattern.blockByteCount)
    let before = (try? reader.read(at: beyond, into: &buffer)) ?? 0
    guard before == 0 else { fail("\(before) bytes were read beyond the end") }
    let half = Int(old) / 2 / Pattern.blockByteCount
    let limit = nanoseconds() + 90_000_000_000
    var index = 0
    var isAsked = false
    var isSeen = false
    while index < half || !isSeen {
      if index == half / 4, !isAsked {
        say("@@QMP \(command)")
        isAsked = true
      }
      let block = index % half
      if try load.write(9, at: UInt64(block * Pattern.blockByteCount)) {
        index += 1
      } else {
        load.reap()
      }
      // A queue learns of the change when it is polled.
      guard reader.next() == nil else { fail("a completion from nowhere") }
      if isAsked, !isSeen {
        isSeen = ((try? reader.read(at: beyond, into: &buffer)) ?? 0) == Pattern.blockByteCount
      }
      if nanoseconds() > limit { fail("\(index) writes, the new end \(isSeen) after 90 s") }
    }
    load.drain()
    try load.queue.flush()
    say("load \(load.summary)")
    say("grown \(old) \(bytes)")
    return load.failures.isEmpty && load.submitted == load.ended ? 0 : 1
  }
}
