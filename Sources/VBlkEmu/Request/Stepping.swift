internal import CHostIO
internal import Virtio

/// A request between two steps.
public struct RequestHandle: Hashable, Sendable {
  /// Its queue.
  public let queue: Int
  /// Which request of the queue, counted from 0.
  public let number: UInt64
}

/// What a request that was fetched asks for.
public struct RequestDescription: Equatable, Sendable {
  /// The raw type.
  public let type: UInt32
  /// First sector.
  public let sector: UInt64
  /// Data bytes, in the direction of the request.
  public let byteCount: UInt64
  /// Its head in the ring.
  public let head: UInt16
}

/// The device in single steps, for tests: nothing happens between two calls. Made for
/// ``EmulatedDisk/Mode/stepped``, where no doorbell serves; usable in every mode.
///
/// ```
/// fetch ─ transfer ─ writeStatus ─ pushUsed ─ publishUsed ─ notifyDriver
/// ```
/// Handles may be completed in any order, or never; a reset makes them stale. Fault rules decide at
/// the fetch and act in the transfer; hostile switches act in ``serve(queue:max:)`` only. A queue
/// that the disk doesn't have is a programming error and traps.
extension EmulatedDisk {
  /// Queues that have something available.
  public var pendingQueues: [Int] {
    (0..<core.queueCount).filter { available(queue: $0) > 0 }
  }

  /// Queues whose doorbell has rung since they were last fetched from or served.
  public var kickedQueues: [Int] {
    (0..<core.queueCount).filter { core.queues.withQueue($0) { $0.kicked } }
  }

  /// How many requests queue `queue` has available.
  public func available(queue: Int) -> Int {
    core.queues.withQueue(queue) { queue in
      guard queue.live, queue.checkMapped() else { return 0 }
      return Int(queue.pending() ?? 0)
    }
  }

  /// Takes the next chain: head, descriptors and header are copied, nothing else happens.
  ///
  /// - Parameters:
  ///   - queue: Which queue.
  ///   - wantKicks: Asks for a kick for what comes after it (`avail_event`).
  /// - Returns: Nil if nothing is available, or if the chain broke the queue.
  public func fetch(queue: Int, wantKicks: Bool = true) -> RequestHandle? {
    core.queues.withQueue(queue) { queue in
      guard queue.live, queue.checkMapped(), let count = queue.pending(), count > 0 else {
        return nil
      }
      queue.kicked = false
      return queue.fetchStep(wantKicks: wantKicks)
    }
  }

  /// What the request asks for.
  ///
  /// - Throws: ``EmulatorError`` if it is gone.
  public func describe(_ handle: RequestHandle) throws(EmulatorError) -> RequestDescription {
    try step(handle, nil) { _, request in
      RequestDescription(
        type: request.type, sector: request.sector,
        byteCount: max(request.readableBytes, request.writableBytes),
        head: UInt16(request.head))
    }
  }

  /// Checks the request and moves its data: store and memory change now.
  ///
  /// - Throws: ``EmulatorError`` if it is gone, or not just fetched.
  public func transfer(_ handle: RequestHandle) throws(EmulatorError) {
    try step(handle, .fetched) { queue, request in
      queue.perform(&request)
      request.step = .transferred
    }
  }

  /// Writes the status byte.
  ///
  /// - Throws: ``EmulatorError`` if it is gone, or its data has not moved.
  public func writeStatus(_ handle: RequestHandle) throws(EmulatorError) {
    try step(handle, .transferred) { queue, request in
      queue.answer(&request)
    }
  }

  /// Writes the used entry, and publishes the used index unless told not to.
  ///
  /// - Parameters:
  ///   - handle: A request whose status is written; it is gone afterwards.
  ///   - publishing: False leaves the index to ``publishUsed(queue:)``.
  /// - Throws: ``EmulatorError`` if it is gone, or its status is not written.
  public func pushUsed(
    _ handle: RequestHandle, publishing: Bool = true
  ) throws(EmulatorError) {
    try step(handle, .answered) { queue, request in
      queue.pushUsed(head: request.head, written: request.usedLength)
      queue.counters.requests &+= 1
      queue.stamps[request.head] = queue.stamp
      request.step = .used
      if publishing { queue.publish() }
    }
  }

  /// Publishes the used index: the driver sees all entries that were pushed.
  public func publishUsed(queue: Int) {
    core.queues.withQueue(queue) { if $0.ringsMapped { $0.publish() } }
  }

  /// Decides whether the driver wants to be told, and tells it.
  public func notifyDriver(queue: Int) {
    core.queues.withQueue(queue) { queue in
      guard queue.ringsMapped else { return }
      chio_fence_full()
      queue.notifyOfPublished()
    }
  }

  /// Does all steps that the request still needs, publication and notification included.
  ///
  /// - Throws: ``EmulatorError`` if it is gone.
  public func complete(_ handle: RequestHandle) throws(EmulatorError) {
    try step(handle, nil) { queue, request in
      if request.step == .fetched { queue.perform(&request) }
      if request.step != .answered { queue.answer(&request) }
      queue.pushUsed(head: request.head, written: request.usedLength)
      queue.counters.requests &+= 1
      queue.stamps[request.head] = queue.stamp
      request.step = .used
      queue.finishBatch(wantKicks: true)
    }
  }

  /// Serves up to `max` available requests from fetch to notification, by the rules and switches
  /// that are set.
  ///
  /// - Returns: How many were taken.
  @discardableResult
  public func serve(queue: Int, max: Int = .max) -> Int {
    core.queues.withQueue(queue) { queue in
      guard queue.live, queue.checkMapped(), let count = queue.pending() else { return 0 }
      queue.kicked = false
      let taken = Swift.min(Int(count), max)
      queue.serveBatch(UInt16(taken))
      queue.finishBatch(wantKicks: true)
      return taken
    }
  }

  /// Does one step of a request that is in flight, in turn.
  private func step<Result>(
    _ handle: RequestHandle, _ turn: Request.Step?,
    _ body: (inout SplitQueue, inout Request) -> Result
  ) throws(EmulatorError) -> Result {
    let result: Swift.Result<Result, EmulatorError> = core.queues.withQueue(handle.queue) {
      queue in
      guard var request = queue.inFlight[handle.number] else {
        return .failure(
          EmulatorError(
            .staleRequest, "request \(handle.number) of queue \(handle.queue) is gone",
            remedy: "fetch anew: it was used, or cancelled by a reset"))
      }
      guard turn == nil || request.step == turn else {
        return .failure(
          EmulatorError(
            .wrongState, "request \(handle.number) of queue \(handle.queue) is \(request.step)",
            remedy: "go fetch, transfer, writeStatus, pushUsed"))
      }
      let result = body(&queue, &request)
      queue.inFlight[handle.number] = request.step == .used ? nil : request
      return .success(result)
    }
    return try result.get()
  }
}

extension SplitQueue {
  /// Takes the next chain and keeps it in flight.
  mutating func fetchStep(wantKicks: Bool) -> RequestHandle? {
    guard let head = takeHead() else { return nil }
    var request = Request()
    guard fetch(head, &request) else { return nil }
    request.fault = interposition.decide(request)
    stamps[head] = HeadStamps.held
    inFlight[request.number] = request
    armKicks(wantKicks)
    // Fence K, before whoever steps looks for more.
    chio_fence_full()
    return RequestHandle(queue: index, number: request.number)
  }
}
