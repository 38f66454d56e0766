public import DMAPool

/// Several queues as one wide queue: a large read or write is spread over all of them, so that one
/// operation uses every queue of a device, or several devices at once.
///
/// The group owns one queue, its *home*, and belongs to the thread that polls it; the others belong
/// to ``PollLoop``s, which carry out their parts. The bytes of several devices stand one after
/// another, the home's device first. An operation has one result and one ``Completion``, as on a
/// queue: its first error, or all bytes. Parts of one operation are unordered.
///
/// Memory must be mapped for every device of the group (``Device/attach(_:)``).
public struct PollGroup: ~Copyable {
  let home: Place<SpreadHome>

  /// Bounds of a group.
  public struct Options: Sendable {
    /// Operations that can be in flight or wait to be taken.
    public var depth = Limits.spreadDios
    /// Bytes that a part has at least: smaller operations use fewer queues.
    public var partByteCount = Limits.partBytes

    /// The defaults.
    public init() {}
  }

  /// Makes a group.
  ///
  /// - Parameters:
  ///   - home: The queue that the group's own thread polls.
  ///   - others: The other members.
  ///   - options: Its bounds.
  public init(home: consuming Queue, with others: [SharedQueue], options: Options = Options()) {
    self.home = Place(moving: Self.makeHome(home, with: others, options: options))
  }

  deinit {
    home.value.retire()
    _ = home.take()
  }

  /// What the group does, without a place of its own.
  static func makeHome(
    _ home: consuming Queue, with others: [SharedQueue], options: Options,
    pause: SpreadPause? = nil
  ) -> SpreadHome {
    precondition(options.depth > 0, "a group has a depth of at least 1")
    precondition(options.partByteCount > 0, "a part has at least one byte")
    let (layout, members) = Self.arrange(home, others, partBytes: options.partByteCount)
    return SpreadHome(
      queue: home, others: members, layout: layout, capacity: options.depth, pause: pause)
  }

  /// Devices in the order of their first members, each with its members.
  private static func arrange(
    _ home: borrowing Queue, _ others: [SharedQueue], partBytes: Int
  ) -> (SpreadLayout, [SharedQueue]) {
    var devices = [home.device]
    for other in others where !devices.contains(where: { $0 === other.device }) {
      devices.append(other.device)
    }
    precondition(devices.count <= Limits.groupDevices, "a group has at most 64 devices")
    var members: [SharedQueue] = []
    var volumes: [SpreadLayout.Volume] = []
    var base: UInt64 = 0
    for (number, device) in devices.enumerated() {
      let first = number == 0 ? 0 : members.count + 1
      members += others.filter { $0.device === device }
      let blockMask = UInt64(device.info.limits.logicalBlockSize - 1)
      let byteCount = device.capacityBytes & ~blockMask
      volumes.append(
        SpreadLayout.Volume(
          device: device, base: base, byteCount: byteCount, blockMask: blockMask,
          members: first..<(members.count + 1)))
      base += byteCount
    }
    return (SpreadLayout(volumes: volumes, partBytes: UInt64(partBytes)), members)
  }

  /// Bytes of the group.
  public var byteCount: UInt64 { home.value.byteCount }

  /// Operations accepted and not yet taken.
  public var inFlight: Int { home.value.inFlight }

  /// What the home queue has counted.
  public var statistics: QueueStatistics { home.value.queue.statistics }

  // MARK: - Submit

  /// Reads `buffer.byteCount` bytes from byte `offset` of the group into `buffer`.
  ///
  /// A read that crosses the end is cut there; one at or beyond the end completes with 0 bytes.
  ///
  /// - Parameters:
  ///   - offset: First byte of the group.
  ///   - buffer: Where the data goes.
  ///   - tag: Any number; the completion carries it.
  /// - Returns: Whether the operation is under way, already ended, or refused with nothing done.
  public mutating func submitRead(
    at offset: UInt64, into buffer: consuming DMABuffer, tag: UInt64
  ) -> Submission<DMABuffer> {
    submit(.read, at: offset, buffer, tag: tag, durable: false)
  }

  /// Writes the bytes of `buffer` to byte `offset` of the group.
  ///
  /// - Parameters:
  ///   - offset: First byte of the group.
  ///   - buffer: The data.
  ///   - tag: Any number; the completion carries it.
  ///   - durable: Whether the operation ends only when the data is on stable media: a FLUSH follows
  ///     on each device that was written to and has a volatile cache.
  /// - Returns: Whether the operation is under way, already ended, or refused with nothing done.
  public mutating func submitWrite(
    at offset: UInt64, from buffer: consuming DMABuffer, tag: UInt64, durable: Bool = false
  ) -> Submission<DMABuffer> {
    submit(.write, at: offset, buffer, tag: tag, durable: durable)
  }

  /// Reads from byte `offset` of the group into the list's segments, in their order.
  public mutating func submitRead(
    at offset: UInt64, into segments: consuming SegmentList, tag: UInt64
  ) -> Submission<SegmentList> {
    submit(.read, at: offset, segments, tag: tag, durable: false)
  }

  /// Writes the list's segments, in their order, to byte `offset` of the group.
  public mutating func submitWrite(
    at offset: UInt64, from segments: consuming SegmentList, tag: UInt64, durable: Bool = false
  ) -> Submission<SegmentList> {
    submit(.write, at: offset, segments, tag: tag, durable: durable)
  }

  /// Makes every write that had completed durable, on each device.
  public mutating func submitFlush(tag: UInt64) -> PlainSubmission {
    switch home.value.submit(.flush, at: 0, 0, .none, tag: tag, durable: false) {
    case .ended(let result): .completed(result)
    case .refused(let code): .refused(code)
    case .accepted: .queued
    }
  }

  private mutating func submit(
    _ operation: Operation, at offset: UInt64, _ buffer: consuming DMABuffer, tag: UInt64,
    durable: Bool
  ) -> Submission<DMABuffer> {
    let block = buffer.intoReference()
    let count = UInt64(block.byteCount)
    switch home.value.submit(
      operation, at: offset, count, .buffer(block), tag: tag, durable: durable)
    {
    case .ended(let result): return .completed(result, DMABuffer(block))
    case .refused(let code): return .refused(code, DMABuffer(block))
    case .accepted: return .queued
    }
  }

  private mutating func submit(
    _ operation: Operation, at offset: UInt64, _ segments: consuming SegmentList, tag: UInt64,
    durable: Bool
  ) -> Submission<SegmentList> {
    let list = segments.intoStorage()
    let count = list.byteCount
    switch home.value.submit(operation, at: offset, count, .list(list), tag: tag, durable: durable)
    {
    case .ended(let result): return .completed(result, SegmentList(storage: list))
    case .refused(let code): return .refused(code, SegmentList(storage: list))
    case .accepted: return .queued
    }
  }

  // MARK: - Kick and poll

  /// Shows the home's device what was submitted; the other members' threads have their parts
  /// already.
  public mutating func kick() { home.value.queue.kick() }

  /// One finished operation, or nil where there is none; never blocks. What is pending is kicked.
  public mutating func next() -> Completion? { home.value.next() }

  /// Accepts nothing more, and waits for what is in flight, until the deadline; then the devices
  /// are reset. The completions can still be taken by ``next()``.
  public mutating func close() { home.value.close() }

  /// Says in full why the last submission was refused, or why an operation failed with `code`.
  ///
  /// - Parameter code: What a submission was refused with, or a completion's code.
  /// - Returns: The cause with the values seen, and what to do about it.
  public func error(for code: VBlkError.Code) -> VBlkError { home.value.queue.error(for: code) }
}
