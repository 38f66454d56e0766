// Keeps 32 random reads in flight until 100,000 are done: submit, kick once a batch, poll.
import VBlk

let device = try Device.open("emu:256M,null", depth: 32)
var queue = try device.makeQueue()
let blocks = device.info.capacityBytes / 4096
var random = SystemRandomNumberGenerator()
var submitted: UInt64 = 0
var completed = 0

/// Sends a buffer out again; its tag is the number of the read.
func submit(_ queue: inout Queue, _ buffer: consuming DMABuffer) {
  let offset = random.next(upperBound: blocks) * 4096
  switch queue.submitRead(at: offset, into: buffer, tag: submitted) {
  case .queued: submitted += 1
  case .completed(let result, _): fatalError("ended at once: \(result)")
  case .refused(let code, _): fatalError("\(queue.error(for: code))")
  }
}

for _ in 0..<32 { submit(&queue, try device.memory.allocate(byteCount: 4096)) }
queue.kick()
while completed < 100_000 {
  while let done = queue.next() {
    if let code = done.result.code { fatalError("read \(done.tag): \(queue.error(for: code))") }
    completed += 1
    if let buffer = done.buffer { submit(&queue, buffer) }
  }
  queue.kick()
}
let counted = queue.statistics
print("\(completed) reads, \(counted.kicks) kicks, \(counted.polls) polls")
