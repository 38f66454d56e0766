internal import CHostIO
internal import Virtio

/// Serving a queue: all that is available, in batches; one publish and one notification a batch.
extension SplitQueue {
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
    breakQueue(.ringUnmapped, at: UInt64(lastAvailable), value: 0)
    return false
  }

  /// Takes and completes `count` available requests; nothing is published.
  mutating func serveBatch(_ count: UInt16) {
    if interposed {
      serveInterposed(count)
      return
    }
    var requests: UInt64 = 0
    var bytes: UInt64 = 0
    var left = count
    while left > 0 {
      guard let head = takeHead() else { break }
      let moved = servePlain(head)
      if _fastPath(moved != SplitQueue.notPlain) {
        requests &+= 1
        bytes &+= moved
      } else if !serveChain(head) {
        break
      }
      left &-= 1
    }
    counters.requests &+= requests
    counters.bytes &+= bytes
  }

  /// Serves the chain at `head` by the general walker.
  ///
  /// - Returns: False if the queue is broken.
  @inline(never)
  mutating func serveChain(_ head: Int) -> Bool {
    let scratch = scratch
    return scratch.use { request in
      guard fetch(head, &request) else { return false }
      execute(&request)
      complete(&request)
      return true
    }
  }

  /// Writes status and used entry of a request that was executed.
  mutating func complete(_ request: inout Request) {
    answer(&request)
    pushUsed(head: request.head, written: request.usedLength)
    request.step = .used
    counters.requests &+= 1
  }

  /// Writes the status byte, if there is one.
  mutating func answer(_ request: inout Request) {
    request.step = .answered
    if request.framing != .unanswerable {
      request.isAnswered = storeByte(request.statusAddress, request.status)
    }
    if request.status != RequestStatus.ok.rawValue || request.framing != .complete {
      counters.failedRequests &+= 1
    }
  }

  /// What ``servePlain(_:)`` answers for a chain of another shape: nothing was done.
  @inline(__always)
  static var notPlain: UInt64 { .max }

  /// Serves the common shape without the walker: header of 16 bytes, one data descriptor, status of
  /// 1 byte; in the ring or in a table of three. Every rule of the walker holds, or the chain is
  /// left to it, which loads everything anew and judges that: each loads what it uses once.
  ///
  /// - Returns: Bytes moved, or ``notPlain``.
  @inline(__always)
  private mutating func servePlain(_ head: Int) -> UInt64 {
    var header = ringWords(head)
    let data: (UInt64, UInt64)
    let status: (UInt64, UInt64)
    if header.1 &<< 16 == Shape.header {
      let first = Int(truncatingIfNeeded: header.1 &>> 48)
      guard _fastPath(first < Int(size)) else { return SplitQueue.notPlain }
      data = ringWords(first)
      let second = Int(truncatingIfNeeded: data.1 &>> 48)
      guard _fastPath(second < Int(size)) else { return SplitQueue.notPlain }
      status = ringWords(second)
      guard _fastPath(status.1 &<< 16 == Shape.status) else {
        return SplitQueue.notPlain
      }
    } else {
      guard _fastPath(header.1 &<< 16 == Shape.table), _fastPath(indirect),
        _fastPath(header.0 & 7 == 0), let table = controlOffset(header.0)
      else { return SplitQueue.notPlain }
      let memory = controlRun.memory
      header = (memory.load64(table), memory.load64(table &+ 8))
      data = (memory.load64(table &+ 16), memory.load64(table &+ 24))
      status = (memory.load64(table &+ 32), memory.load64(table &+ 40))
      guard _fastPath(header.1 == Shape.header &>> 16 | 1 << 48),
        _fastPath(data.1 &>> 48 == 2),
        _fastPath(status.1 &<< 16 == Shape.status)
      else { return SplitQueue.notPlain }
    }
    guard _fastPath(header.0 & 7 == 0), let headerOffset = controlOffset(header.0) else {
      return SplitQueue.notPlain
    }
    let type = UInt32(truncatingIfNeeded: controlRun.memory.load64(headerOffset))
    let sector = controlRun.memory.load64(headerOffset &+ 8)
    // The last look-up: it may have changed the run, and its offset is used to the end.
    guard let statusOffset = controlOffset(status.0) else { return SplitQueue.notPlain }
    return movePlain(head, type, sector, data, statusOffset)
  }

  /// Checks and does a read or write of one data descriptor, and completes it.
  @inline(__always)
  private mutating func movePlain(
    _ head: Int, _ type: UInt32, _ sector: UInt64, _ data: (UInt64, UInt64), _ statusOffset: Int
  ) -> UInt64 {
    let length = data.1 & 0xFFFF_FFFF
    let flags = data.1 &>> 32 & 0xFFFF
    // A read's data is NEXT | WRITE, a write's is NEXT.
    let reading = type == RequestType.read.rawValue && flags == 3
    let writing = type == RequestType.write.rawValue && flags == 1 && !readOnly && !writeThrough
    guard _fastPath(reading || writing), _fastPath(length & 511 == 0), _fastPath(length != 0),
      _fastPath(sector <= capacitySectors),
      _fastPath(length &>> Sector.shift <= capacitySectors &- sector)
    else { return SplitQueue.notPlain }
    var dataOffset = dataRun.offset(data.0, length)
    if _slowPath(dataOffset == nil) {
      guard refillDataRun(data.0) else { return SplitQueue.notPlain }
      dataOffset = dataRun.offset(data.0, length)
    }
    guard let dataOffset else { return SplitQueue.notPlain }
    let host = unsafe dataRun.host + dataOffset
    let count = Int(truncatingIfNeeded: length)
    let error =
      reading
      ? unsafe store.read(host, count, at: sector &<< Sector.shift)
      : unsafe store.write(host, count, at: sector &<< Sector.shift)
    guard _fastPath(error == 0) else {
      _ = storeFailed(error)
      counters.failedRequests &+= 1
      controlRun.memory.store8(statusOffset, RequestStatus.ioError.rawValue)
      pushUsed(head: head, written: reading ? 0 : 1)
      return 0
    }
    controlRun.memory.store8(statusOffset, RequestStatus.ok.rawValue)
    pushUsed(head: head, written: reading ? UInt32(truncatingIfNeeded: length) &+ 1 : 1)
    return length
  }

  /// The two words of a ring descriptor whose index is less than the size.
  @inline(__always)
  private func ringWords(_ index: Int) -> (UInt64, UInt64) {
    let offset = index &* SplitLayout.descriptorStride
    return (descriptors.load64(offset), descriptors.load64(offset &+ 8))
  }

  /// Where in ``controlRun`` a header, table or status is; the run is looked up anew if need be.
  @inline(__always)
  mutating func controlOffset(_ address: UInt64) -> Int? {
    if let offset = controlRun.short(address) { return offset }
    refillControlRun(address)
    return controlRun.short(address)
  }
}

/// The second words of descriptors of the common shape, `next` shifted out: length at bit 16, flags
/// at bit 48.
private enum Shape {
  /// 16 bytes, NEXT.
  @inline(__always) static var header: UInt64 { 16 << 16 | 1 << 48 }
  /// 1 byte, WRITE, the last.
  @inline(__always) static var status: UInt64 { 1 << 16 | 2 << 48 }
  /// A table of three, INDIRECT.
  @inline(__always) static var table: UInt64 { 48 << 16 | 4 << 48 }
}
