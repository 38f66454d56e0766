/// A queue on its loop's thread, with what other threads bring to it.
///
/// One round is: take parts and requests → begin those for which there is a slot → kick → reap and
/// deliver. Each step stands alone, so that the order of threads can be chosen between them.
struct LoopQueue: ~Copyable {
  var queue: Queue
  let shared: SharedQueue
  private(set) var ports: LoopPorts
  private var portVersion = 0
  /// Parts that were taken and wait for a slot, in the order of their pushes.
  private(set) var waiting: Place<SpreadPart>?

  init(_ queue: consuming Queue, waker: LoopWaker) {
    shared = SharedQueue(queue, waker: waker)
    // The routes: as many as there are slots, and one more for a request that is refused.
    ports = LoopPorts(depth: queue.depth + 1)
    self.queue = queue
  }

  /// Does what there is to do.
  ///
  /// - Returns: Whether there was anything.
  mutating func round() -> Bool {
    takeParts()
    let begun = beginParts() + takeRequests()
    queue.kick()
    return reap() || begun > 0
  }

  /// Whether nothing can happen here until another thread brings something; before a sleep.
  var isQuiet: Bool {
    queue.inFlight == 0 && queue.state.keptCount == 0 && waiting == nil && shared.parts.isEmpty
      && shared.portVersion == portVersion && !ports.isWanted
  }

  // MARK: - Parts

  /// Takes what was pushed, once what was taken before has begun.
  mutating func takeParts() {
    if waiting == nil { waiting = shared.parts.takeAll() }
  }

  /// Begins parts as long as there are slots; the next kick publishes them.
  ///
  /// - Returns: How many.
  @discardableResult
  mutating func beginParts() -> Int {
    var count = 0
    while let part = waiting {
      // Once begun the part may have ended already, and be home's again.
      let next = part.value.link
      guard queue.startPart(part) else { break }
      waiting = next
      count += 1
    }
    return count
  }

  // MARK: - Ports

  /// Begins requests of the ports as long as there are slots; the next kick publishes them.
  ///
  /// - Parameter limit: Requests of each port, at most.
  /// - Returns: How many were taken.
  @discardableResult
  mutating func takeRequests(max limit: UInt64 = .max) -> Int {
    let version = shared.portVersion
    if version != portVersion {
      portVersion = version
      for memory in shared.takePorts() { ports.add(memory) }
    }
    return ports.takeRequests(&queue, max: limit)
  }

  /// Reaps what is there, and hands each completion to its port.
  ///
  /// - Parameter limit: Completions, at most; nil stands for as many as there are slots.
  /// - Returns: Whether anything was reaped.
  @discardableResult
  mutating func reap(max limit: Int? = nil) -> Bool {
    let before = queue.lastUsed
    let limit = limit ?? queue.depth
    var left = limit
    while left > 0, let done = queue.next() {
      let route = UInt32(truncatingIfNeeded: done.tag)
      let result = done.result
      ports.deliver(route, result, done.intoSource())
      left -= 1
    }
    return queue.lastUsed != before || left < limit
  }

  // MARK: - The end

  /// Ends everything, once each: what is in flight by completion until the deadline, then by a
  /// reset; what was not begun, with `closed`. Nothing is taken from other threads any more.
  mutating func close() {
    for memory in shared.closePorts() { ports.add(memory) }
    ports.close()
    end(waiting)
    waiting = nil
    end(shared.parts.close())
    queue.close()
    while reap() {}
  }

  private func end(_ first: Place<SpreadPart>?) {
    var left = first
    while let part = left {
      left = part.value.link
      part.end(byteCount: 0, code: VBlkError.Code.closed.rawValue)
    }
  }
}
