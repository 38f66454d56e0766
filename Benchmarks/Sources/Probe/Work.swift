import VBlkDriver

// One round of each form. Each is a function that callgrind sees; the phases of `read` too.

@inline(never)
func workRead(_ queue: inout Queue, _ client: inout Client, count: Int) {
  submitBatch(&queue, &client)
  kickBatch(&queue)
  pollBatch(&queue, &client, count)
}

@inline(never)
func submitBatch(_ queue: inout Queue, _ client: inout Client) {
  while client.count > 0 {
    let offset = client.nextOffset()
    if !client.accept(queue.submitRead(at: offset, into: client.pop(), tag: offset)) { return }
  }
}

@inline(never)
func kickBatch(_ queue: inout Queue) { queue.kick() }

@inline(never)
func pollBatch(_ queue: inout Queue, _ client: inout Client, _ count: Int) {
  _ = queue.poll(max: count) { client.take($0) }
}

@inline(never)
func workWrite(_ queue: inout Queue, _ client: inout Client) {
  submitWrites(&queue, &client)
  kickBatch(&queue)
  pollBatch(&queue, &client, Probe.depth)
}

@inline(never)
func submitWrites(_ queue: inout Queue, _ client: inout Client) {
  while client.count > 0 {
    let offset = client.nextOffset()
    if !client.accept(queue.submitWrite(at: offset, from: client.pop(), tag: offset)) { return }
  }
}

@inline(never)
func workNext(_ queue: inout Queue, _ client: inout Client) {
  while client.count > 0 {
    let offset = client.nextOffset()
    if !client.accept(queue.submitRead(at: offset, into: client.pop(), tag: offset)) { return }
  }
  queue.kick()
  while client.count < Probe.depth, let done = queue.next() { client.take(done) }
}

@inline(never)
func workSingle(_ queue: inout Queue, _ client: inout Client, isAligned: Bool) {
  let offset = client.nextOffset() &+ (isAligned ? 0 : 100)
  guard client.accept(queue.submitRead(at: offset, into: client.pop(), tag: offset)) else { return }
  queue.kick()
  _ = queue.poll(max: 1) { client.take($0) }
}

@inline(never)
func workSync(_ queue: inout Queue, _ client: inout Client) throws {
  let count = try queue.read(at: client.nextOffset(), into: &client.buffers[0])
  client.checksum &+= UInt64(truncatingIfNeeded: count)
}

@inline(never)
func workEmptyPoll(_ queue: inout Queue, _ count: Int) {
  for _ in 0..<count { _ = queue.poll { _ in } }
}

@inline(never)
func workEmptyNext(_ queue: inout Queue, _ count: Int) {
  for _ in 0..<count { _ = queue.next() }
}

@inline(never)
func workVectored(
  _ queue: inout Queue, _ client: inout Client, _ list: consuming SegmentList
) -> SegmentList {
  let offset = client.nextOffset()
  switch queue.submitRead(at: offset, into: list, tag: offset) {
  case .queued: break
  case .completed(_, let list): return list
  case .refused(_, let list): return list
  }
  queue.kick()
  guard var done = queue.next(), let list = done.segments.take() else {
    fatalError("a vectored read did not come back")
  }
  return list
}

@inline(never)
func work(_ queue: inout StubQueue, _ client: inout Client) {
  submitStub(&queue, &client)
  pollStub(&queue, &client)
}
