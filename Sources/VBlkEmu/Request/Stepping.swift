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
  /// Its head in a split ring, its buffer id in a packed one.
  public let head: UInt16
}

/// The device in single steps, for tests: nothing happens between two calls. Made for
/// ``EmulatedDisk/Mode/stepped``, where no doorbell serves; usable in every mode.
///
/// ```
/// fetch ─ transfer ─ writeStatus ─ pushUsed ─ publishUsed ─ notifyDriver
/// ```
/// Handles may be completed in any order (under IN_ORDER: only the oldest), or never; a reset makes
/// them stale. Fault rules decide at
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
      return queue.countPending() ?? 0
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

  /// Writes the used entry or descriptor, and publishes it unless told not to.
  ///
  /// - Parameters:
  ///   - handle: A request whose status is written; it is gone afterwards.
  ///   - publishing: False leaves that to ``publishUsed(queue:)``.
  /// - Throws: ``EmulatorError`` if it is gone, or its status is not written.
  public func pushUsed(
    _ handle: RequestHandle, publishing: Bool = true
  ) throws(EmulatorError) {
    try step(handle, .answered, inOrder: true) { queue, request in
      queue.use(&request)
      if publishing { queue.publish() }
    }
  }

  /// Publishes what was used: the driver sees all entries or descriptors that were pushed.
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
    try step(handle, nil, inOrder: true) { queue, request in
      if request.step == .fetched { queue.perform(&request) }
      if request.step != .answered { queue.answer(&request) }
      queue.use(&request)
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
      guard queue.live, queue.checkMapped(), let count = queue.countPending() else { return 0 }
      queue.kicked = false
      let taken = Swift.min(count, max)
      queue.serveBatch(UInt16(taken))
      queue.finishBatch(wantKicks: true)
      return taken
    }
  }

  /// Does one step of a request that is in flight, in turn. Under IN_ORDER a step that is `inOrder`
  /// is refused to all but the oldest.
  private func step<Result>(
    _ handle: RequestHandle, _ turn: Request.Step?, inOrder: Bool = false,
    _ body: (inout DeviceQueue, inout Request) -> Result
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
      if inOrder, queue.inOrder, let oldest = queue.inFlight.keys.min(), oldest < handle.number {
        return .failure(
          EmulatorError(
            .wrongState, "request \(handle.number) of queue \(handle.queue) is not the oldest",
            remedy: "IN_ORDER is negotiated: use request \(oldest) first"))
      }
      let result = body(&queue, &request)
      queue.inFlight[handle.number] = request.step == .used ? nil : request
      return .success(result)
    }
    return try result.get()
  }
}

extension DeviceQueue {
  /// Takes the next chain and keeps it in flight.
  mutating func fetchStep(wantKicks: Bool) -> RequestHandle? {
    if watch != nil { watchNext(1) }
    var request = Request()
    guard fetchNext(&request) else { return nil }
    request.fault = interposition.decide(request)
    stamps[request.head] = HeadStamps.held
    inFlight[request.number] = request
    armKicks(wantKicks)
    // Fence K, before whoever steps looks for more.
    chio_fence_full()
    return RequestHandle(queue: index, number: request.number)
  }

  /// Writes the used element of a request that was kept in flight, and frees its head or id.
  mutating func use(_ request: inout Request) {
    pushUsed(UsedElement(request), packed: isPacked)
    counters.requests &+= 1
    stamps[request.head] = stamp
    request.step = .used
  }
}
