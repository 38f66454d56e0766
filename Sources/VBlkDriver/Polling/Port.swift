public import DMAPool

/// A client's way to a queue that a ``PollLoop`` owns: submit, kick and poll as on a queue, from
/// another thread. The loop's thread submits, reaps, and hands each completion back here.
///
/// A port belongs to one thread at a time, as a queue does; a queue has many. It has as many
/// credits as it was made with: submitted and not yet taken. What a queue would refuse at once, a
/// port's operation ends with, in its completion; only the port itself refuses, with `busy` or
/// `closed`. Nothing here allocates, throws, logs, locks or blocks.
public struct Port: ~Copyable {
  private let memory: PortMemory
  private let rings: PortRings
  private let target: SharedQueue
  /// Requests written, and those that are the loop's; completions that are ours, and those taken.
  private var written: UInt64 = 0
  private var published: UInt64 = 0
  private var completed: UInt64 = 0
  private var taken: UInt64 = 0
  /// The loop has closed the port: from `published` on nothing reached it.
  private var isClosed = false

  init(_ memory: PortMemory, to target: SharedQueue) {
    self.memory = memory
    rings = memory.rings
    self.target = target
  }

  /// What is in flight goes on; its completions are dropped, and its memory goes back to its
  /// arenas.
  deinit {
    // Written and never published: nobody else knows of it.
    var position = published
    while position != written {
      rings.request(at: position).source.release()
      position += 1
    }
    memory.taken = taken
    rings.abandon()
    target.waker.wake()
  }

  /// Operations that can be in flight or wait to be taken.
  public var depth: Int { rings.capacity }

  /// Operations submitted and not yet taken.
  public var inFlight: Int { Int(written - taken) }

  // MARK: - Submit

  /// Reads `buffer.byteCount` bytes from byte `offset` of the device into `buffer`.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - buffer: Where the data goes; it comes back with the completion, or refused.
  ///   - tag: Any number; the completion carries it.
  /// - Returns: Queued, or refused with `busy` or `closed`.
  public mutating func submitRead(
    at offset: UInt64, into buffer: consuming DMABuffer, tag: UInt64
  ) -> Submission<DMABuffer> {
    submit(.read, at: offset, buffer, tag: tag, durable: false)
  }

  /// Writes the bytes of `buffer` to byte `offset` of the device.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - buffer: The data.
  ///   - tag: Any number; the completion carries it.
  ///   - durable: Whether the operation ends only when the data is on stable media.
  /// - Returns: Queued, or refused with `busy` or `closed`.
  public mutating func submitWrite(
    at offset: UInt64, from buffer: consuming DMABuffer, tag: UInt64, durable: Bool = false
  ) -> Submission<DMABuffer> {
    submit(.write, at: offset, buffer, tag: tag, durable: durable)
  }

  /// Reads from byte `offset` of the device into the list's segments, in their order.
  public mutating func submitRead(
    at offset: UInt64, into segments: consuming SegmentList, tag: UInt64
  ) -> Submission<SegmentList> {
    submit(.read, at: offset, segments, tag: tag, durable: false)
  }

  /// Writes the list's segments, in their order, to byte `offset` of the device.
  public mutating func submitWrite(
    at offset: UInt64, from segments: consuming SegmentList, tag: UInt64, durable: Bool = false
  ) -> Submission<SegmentList> {
    submit(.write, at: offset, segments, tag: tag, durable: durable)
  }

  /// Makes every write that had completed durable.
  public mutating func submitFlush(tag: UInt64) -> PlainSubmission {
    submit(PortRequest(operation: .flush, tag: tag))
  }

  /// Discards `byteCount` bytes at byte `offset`, both whole blocks.
  public mutating func submitDiscard(
    at offset: UInt64, byteCount: UInt64, tag: UInt64
  ) -> PlainSubmission {
    submit(PortRequest(operation: .discard, tag: tag, offset: offset, byteCount: byteCount))
  }

  /// Makes `byteCount` bytes at byte `offset`, both whole blocks, read as zeroes.
  ///
  /// - Parameters:
  ///   - offset: First byte on the device.
  ///   - byteCount: Bytes.
  ///   - mayUnmap: Whether the device may unmap the range to do it.
  ///   - tag: Any number; the completion carries it.
  /// - Returns: Queued, or refused with `busy` or `closed`.
  public mutating func submitWriteZeroes(
    at offset: UInt64, byteCount: UInt64, mayUnmap: Bool = false, tag: UInt64
  ) -> PlainSubmission {
    submit(
      PortRequest(
        operation: .writeZeroes, mayUnmap: mayUnmap, tag: tag, offset: offset,
        byteCount: byteCount))
  }

  private mutating func submit(
    _ operation: Operation, at offset: UInt64, _ buffer: consuming DMABuffer, tag: UInt64,
    durable: Bool
  ) -> Submission<DMABuffer> {
    if let code = refusal { return .refused(code, buffer) }
    write(
      PortRequest(
        operation: operation, isDurable: durable, tag: tag, offset: offset,
        source: .buffer(buffer.intoReference())))
    return .queued
  }

  private mutating func submit(
    _ operation: Operation, at offset: UInt64, _ segments: consuming SegmentList, tag: UInt64,
    durable: Bool
  ) -> Submission<SegmentList> {
    if let code = refusal { return .refused(code, segments) }
    write(
      PortRequest(
        operation: operation, isDurable: durable, tag: tag, offset: offset,
        source: .list(segments.intoStorage())))
    return .queued
  }

  private mutating func submit(_ request: PortRequest) -> PlainSubmission {
    if let code = refusal { return .refused(code) }
    write(request)
    return .queued
  }

  private var refusal: VBlkError.Code? {
    if isClosed { return .closed }
    return written &- taken < UInt64(rings.capacity) ? nil : .busy
  }

  private mutating func write(_ request: PortRequest) {
    rings.write(request, at: written)
    written += 1
  }

  // MARK: - Kick and poll

  /// Shows the loop everything submitted since the last kick, and wakes it if it sleeps.
  public mutating func kick() {
    guard written != published, !isClosed else { return }
    guard rings.publish(from: published, to: written) else {
      isClosed = true
      return
    }
    published = written
    target.waker.wake()
  }

  /// Whether the loop has handed something back that was not taken.
  package var hasCompletion: Bool { taken != rings.completed }

  /// What the client's further behaviour depends on, for the explorer of interleavings.
  package func fingerprint(_ add: (UInt64) -> Void) {
    for position in taken..<rings.completed {
      let done = rings.completion(at: position)
      add(done.tag << 8 | UInt64(done.result.code?.rawValue ?? 0))
    }
    add(UInt64(inFlight))
  }

  /// One finished operation, or nil where there is none; never blocks. A call that finds nothing
  /// first kicks what is pending.
  public mutating func next() -> Completion? {
    if taken == completed {
      if isClosed, taken == published { return takeUnpublished() }
      completed = rings.completed
      guard taken != completed else {
        kick()
        return nil
      }
    }
    let done = rings.completion(at: taken)
    taken += 1
    return Completion(
      tag: done.tag, result: done.result, done.source, isKept: target.device.isQuarantined)
  }

  /// What was submitted and never reached the loop ends here, after all that did.
  private mutating func takeUnpublished() -> Completion? {
    guard published != written else { return nil }
    let request = rings.request(at: published)
    published += 1
    taken += 1
    completed = taken
    return Completion(
      tag: request.tag, result: IOResult(byteCount: 0, code: .closed), request.source,
      isKept: false)
  }
}
