internal import CHostIO
internal import Virtio

/// Serving a queue: all that is available, in batches; one publish and one notification a batch.
extension DeviceQueue {
  /// Serves the queue until it is empty, and asks for a kick when it no longer is.
  mutating func serve() {
    guard live, checkMapped(), var count = pending() else { return }
    for _ in 0..<Limits.serveRounds {
      serveBatch(count)
      finishBatch(wantKicks: true)
      guard live, let more = pending(), more > 0 else { return }
      count = more
    }
  }

  /// Whether the rings are still mapped; if not, the queue is broken.
  @inline(__always)
  mutating func checkMapped() -> Bool {
    if _fastPath(ringsMapped) { return true }
    let position = isPacked ? packed.slot : Int(split.lastAvailable)
    breakQueue(.ringUnmapped, at: UInt64(position), value: 0)
    return false
  }

  /// Takes and completes up to `count` available requests; nothing is published.
  mutating func serveBatch(_ count: UInt16) {
    if _slowPath(watch != nil) { watchNext(count) }
    if interposed || isBlocked {
      serveInterposed(count)
    } else if isPacked {
      serveEach(count) { $0.serveNextPacked() }
    } else {
      serveEach(count) { $0.serveNextSplit() }
    }
  }

  /// Calls `next`, which serves a request, up to `count` times.
  @inline(__always)
  private mutating func serveEach(_ count: UInt16, _ next: (inout DeviceQueue) -> UInt64) {
    var requests: UInt64 = 0
    var bytes: UInt64 = 0
    var left = count
    while left > 0 {
      let moved = next(&self)
      if _fastPath(moved < DeviceQueue.general) {
        requests &+= 1
        bytes &+= moved
      } else if moved == DeviceQueue.ended {
        break
      }
      left &-= 1
    }
    counters.requests &+= requests
    counters.bytes &+= bytes
  }

  /// Serves the next list or chain by the general walker.
  ///
  /// - Parameter head: The chain's head, taken from a split ring; nil to take what is next.
  /// - Returns: ``general``, or ``ended``.
  @inline(never)
  mutating func serveChain(_ head: Int?) -> UInt64 {
    let scratch = scratch
    return scratch.use { request in
      let fetched = head.map { fetch($0, &request) } ?? fetchNext(&request)
      guard fetched else { return DeviceQueue.ended }
      execute(&request)
      complete(&request)
      return DeviceQueue.general
    }
  }

  /// Writes status and used entry of a request that was executed.
  mutating func complete(_ request: inout Request) {
    answer(&request)
    pushUsed(UsedElement(request), packed: isPacked)
    request.step = .used
    counters.requests &+= 1
  }

  /// Writes the status byte, if there is one.
  mutating func answer(_ request: inout Request) {
    request.step = .answered
    if request.framing != .unanswerable {
      request.isAnswered = storeByte(request.statusAddress, request.status)
    }
    if interposition.defects.contains(.readableWritten), let first = request.dataIn.first {
      _ = storeByte(first.address, 0x5A)
    }
    if request.status != RequestStatus.ok.rawValue || request.framing != .complete {
      counters.failedRequests &+= 1
    }
  }
}
