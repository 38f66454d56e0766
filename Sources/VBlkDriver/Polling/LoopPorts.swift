import DMAPool

/// The loop's side of a queue's ports. Requests come in from each port in its turn; an accepted
/// operation has a *route*, whose number is its tag on the queue, back to the port it came from.
///
/// A request for which there is no slot stays in its port's ring, and is tried again next round.
struct LoopPorts: ~Copyable {
  /// A port, as the loop knows it.
  private struct End {
    /// Keeps the rings; nil where the place is free.
    var memory: PortMemory?
    var rings: PortRings
    /// Requests before this were taken.
    var consumed: UInt64 = 0
    var inFlight = 0
  }

  private struct Route {
    var port = 0
    var tag: UInt64 = 0
    var next: UInt32
  }

  private var ends: Table<End>
  private let routes: Table<Route>
  private var freeRoute: UInt32 = 0
  /// Ports, those in use and the places of those that have gone.
  private var count = 0
  /// Which port is first in the next round: the one after the last that had its turn.
  private var turn = 0

  /// - Parameter depth: Operations that can have a route at once.
  init(depth: Int) {
    ends = Table(count: 0) { _ in preconditionFailure("there is no port yet") }
    routes = Table(count: depth) {
      Route(next: $0 + 1 < depth ? $0 + 1 : BioRecord.none)
    }
  }

  deinit {
    ends.free()
    routes.free()
  }

  /// Takes a port over, in the place of one that has gone, or in a longer table.
  mutating func add(_ memory: PortMemory) {
    let end = End(memory: memory, rings: memory.rings)
    if let place = (0..<count).first(where: { ends[$0].memory == nil }) {
      ends[place] = end
      return
    }
    let old = ends
    ends = Table(count: count + 1) { $0 < old.count ? old[$0] : end }
    old.free()
    count += 1
  }

  /// Begins what the clients have published, as long as there are slots.
  ///
  /// - Returns: How many requests were taken.
  mutating func takeRequests(_ queue: inout Queue, max limit: UInt64) -> Int {
    var taken = 0
    let first = turn
    for step in 0..<count {
      let port = (first + step) % count
      guard ends[port].memory != nil else { continue }
      let ofPort = takeRequests(of: port, &queue, max: limit)
      taken += ofPort
      if ofPort > 0 { turn = (port + 1) % count }
    }
    return taken
  }

  private mutating func takeRequests(
    of port: Int, _ queue: inout Queue, max most: UInt64
  ) -> Int {
    let first = ends[port].consumed
    let requested = ends[port].rings.requested
    let limit = first + min(requested - first, most)
    while ends[port].consumed != limit, freeRoute != BioRecord.none {
      let request = ends[port].rings.request(at: ends[port].consumed)
      guard begin(request, of: port, &queue) else { break }
      ends[port].consumed += 1
    }
    if ends[port].rings.isAbandoned, ends[port].inFlight == 0 { dropIfDone(port) }
    return Int(ends[port].consumed &- first)
  }

  /// An abandoned port goes when nothing of it is left.
  private func dropIfDone(_ port: Int) {
    if ends[port].consumed == ends[port].rings.requested { ends[port].memory = nil }
  }

  /// - Returns: False where the queue has no slot; the request is as it was.
  private mutating func begin(
    _ request: PortRequest, of port: Int, _ queue: inout Queue
  ) -> Bool {
    let route = freeRoute
    freeRoute = routes[route].next
    routes[route].port = port
    routes[route].tag = request.tag
    ends[port].inFlight += 1
    let result: IOResult
    switch queue.submit(request, tag: UInt64(route)) {
    case .accepted: return true
    case .refused(.busy):
      ends[port].inFlight -= 1
      giveBack(route)
      return false
    case .refused(let code): result = IOResult(byteCount: 0, code: code)
    case .ended(let ended): result = ended
    }
    deliver(route, result, request.source)
    return true
  }

  /// Hands an operation's completion to the port that it came from.
  mutating func deliver(_ route: UInt32, _ result: IOResult, _ source: DioSource) {
    let port = routes[route].port
    ends[port].inFlight -= 1
    ends[port].rings.push(
      KeptCompletion(tag: routes[route].tag, result: result, source: source))
    giveBack(route)
  }

  private mutating func giveBack(_ route: UInt32) {
    routes[route].next = freeRoute
    freeRoute = route
  }

  /// Refuses what is published from here on, and ends with `closed` what was and has not begun.
  func close() {
    for port in 0..<count where ends[port].memory != nil {
      ends[port].rings.close()
      let limit = ends[port].rings.requested
      while ends[port].consumed != limit {
        let request = ends[port].rings.request(at: ends[port].consumed)
        ends[port].rings.push(
          KeptCompletion(
            tag: request.tag, result: IOResult(byteCount: 0, code: .closed),
            source: request.source))
        ends[port].consumed += 1
      }
    }
  }

  /// The client's tag of an operation in flight.
  func clientTag(_ route: UInt64) -> UInt64 { routes[UInt32(truncatingIfNeeded: route)].tag }

  /// Whether a client has published something, or gone, since the last round; before a sleep.
  var isWanted: Bool {
    (0..<count).contains { port in
      ends[port].memory != nil
        && (ends[port].rings.requestedBeforeSleep != ends[port].consumed
          || ends[port].rings.isAbandoned)
    }
  }
}

extension Queue {
  /// Submits what a client asked for; its memory stays the request's where it is not accepted.
  mutating func submit(_ request: PortRequest, tag: UInt64) -> Admission {
    switch (request.operation, request.source) {
    case (.read, .buffer(let block)):
      return admission(submitRead(at: request.offset, into: DMABuffer(block), tag: tag))
    case (.write, .buffer(let block)):
      return admission(
        submitWrite(
          at: request.offset, from: DMABuffer(block), tag: tag, durable: request.isDurable))
    case (.read, .list(let list)):
      return admission(
        submitRead(at: request.offset, into: SegmentList(storage: list), tag: tag))
    case (.write, .list(let list)):
      return admission(
        submitWrite(
          at: request.offset, from: SegmentList(storage: list), tag: tag,
          durable: request.isDurable))
    case (.flush, _): return admission(submitFlush(tag: tag))
    case (.discard, _):
      return admission(
        submitDiscard(at: request.offset, byteCount: request.byteCount, tag: tag))
    case (.writeZeroes, _):
      return admission(
        submitWriteZeroes(
          at: request.offset, byteCount: request.byteCount, mayUnmap: request.mayUnmap, tag: tag))
    default: preconditionFailure("a port has no such request: \(request.operation)")
    }
  }

  private func admission(_ submission: consuming Submission<DMABuffer>) -> Admission {
    switch consume submission {
    case .queued: return .accepted(byteCount: 0)
    case .completed(let result, let buffer):
      _ = buffer.intoReference()
      return .ended(result)
    case .refused(let code, let buffer):
      _ = buffer.intoReference()
      return .refused(code)
    }
  }

  private func admission(_ submission: consuming Submission<SegmentList>) -> Admission {
    switch consume submission {
    case .queued: return .accepted(byteCount: 0)
    case .completed(let result, let list):
      _ = list.intoStorage()
      return .ended(result)
    case .refused(let code, let list):
      _ = list.intoStorage()
      return .refused(code)
    }
  }

  private func admission(_ submission: PlainSubmission) -> Admission {
    switch submission {
    case .queued: return .accepted(byteCount: 0)
    case .completed(let result): return .ended(result)
    case .refused(let code): return .refused(code)
    }
  }
}

extension Completion {
  /// What the operation moved its data through; the completion's content is the caller's.
  consuming func intoSource() -> DioSource {
    if let buffer = buffer { return .buffer(buffer.intoReference()) }
    if let segments = segments { return .list(segments.intoStorage()) }
    return .none
  }
}
