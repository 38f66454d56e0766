// Keeps 32 scattered reads in flight until 100,000 are done: submit, kick once a batch, poll.
import VBlk

let device = try Device.open("emu:256M,null", depth: 32)
var queue = try device.makeQueue()
let blocks = device.info.capacityBytes / 4096

/// Sends a buffer out again, to a block that its tag is scattered to.
func submit(_ queue: inout Queue, _ buffer: consuming DMABuffer, tag: UInt64, blocks: UInt64) {
  let offset = tag &* 0x9E37_79B9_7F4A_7C15 % blocks * 4096
  switch queue.submitRead(at: offset, into: buffer, tag: tag) {
  case .queued: break
  case .completed(let result, _): fatalError("ended at once: \(result)")
  case .refused(let code, _): fatalError("\(queue.error(for: code))")
  }
}

var completed: UInt64 = 0
for tag in 0..<32 as Range<UInt64> {
  submit(&queue, try device.memory.allocate(byteCount: 4096), tag: tag, blocks: blocks)
}
queue.kick()
while completed < 100_000 {
  while let done = queue.next() {
    if let code = done.result.code { fatalError("\(queue.error(for: code))") }
    completed += 1
    if let buffer = done.buffer { submit(&queue, buffer, tag: completed, blocks: blocks) }
  }
  queue.kick()
}
let counted = queue.statistics
print("\(completed) reads, \(counted.kicks) kicks, \(counted.polls) polls")
