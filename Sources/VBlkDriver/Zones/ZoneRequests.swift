public import DMAPool
import Virtio

/// What to do with a zone.
public enum ZoneAction: Sendable, CaseIterable {
  /// Open it, so that writes find its resources reserved.
  case open
  /// Give its open resource back; what is written stays.
  case close
  /// Make it full, whatever is written.
  case finish
  /// Make it empty; what was written is gone.
  case reset

  var operation: Operation {
    switch self {
    case .open: .zoneOpen
    case .close: .zoneClose
    case .finish: .zoneFinish
    case .reset: .zoneReset
    }
  }
}

/// Zones (virtio 1.3, 5.2.6). A zone is named by its first byte. On a device without zones each
/// call ends with `unsupported`; what a zone refuses, with `zoneInvalidCommand`,
/// `zoneUnalignedWritePointer`, `zoneOpenResource` or `zoneActiveResource`.
extension Queue {
  /// Does something to a zone; an operation without data, like ``submitFlush(tag:)``.
  public mutating func submitZone(
    _ action: ZoneAction, at zone: UInt64, tag: UInt64
  ) -> PlainSubmission {
    submitFixed(action.operation, at: zone, count: 0, tag: tag)
  }

  /// Makes all sequential zones empty that are neither read-only nor offline.
  public mutating func submitResetAllZones(tag: UInt64) -> PlainSubmission {
    submitFixed(.zoneResetAll, at: 0, count: 0, tag: tag)
  }

  /// Appends the bytes of `buffer` to a sequential zone, at its write pointer. After its completion
  /// was taken, ``lastAppendOffset`` says where that was.
  ///
  /// - Parameters:
  ///   - zone: First byte of the zone.
  ///   - buffer: The data, of whole granules, at most the device's `maxAppendBytes` and as many
  ///     pieces as one request has; it comes back in the submission or with the completion.
  ///   - tag: Any number; the completion carries it.
  ///   - durable: Whether the operation ends only when the data is on stable media.
  /// - Returns: Whether the operation is under way, or refused with nothing done: `tooLarge` where
  ///   it isn't one request.
  public mutating func submitAppend(
    to zone: UInt64, from buffer: consuming DMABuffer, tag: UInt64, durable: Bool = false
  ) -> Submission<DMABuffer> {
    submitSlow(.zoneAppend, at: zone, buffer.intoReference(), tag: tag, durable: durable)
  }

  /// Where on the device the last append went whose result was handed out, in bytes.
  public var lastAppendOffset: UInt64? { state.lastAppend == .max ? nil : state.lastAppend }

  // MARK: - Synchronous

  /// Does something to the zone whose first byte is `zone`, and waits for it.
  public mutating func setZone(_ action: ZoneAction, at zone: UInt64) throws(VBlkError) {
    try wait(action.operation, at: zone, 0, .none)
  }

  /// Makes all sequential zones empty that are neither read-only nor offline, and waits for it.
  public mutating func resetAllZones() throws(VBlkError) {
    try wait(.zoneResetAll, at: 0, 0, .none)
  }

  /// Appends `buffer` to a sequential zone, and waits for it.
  ///
  /// - Parameters:
  ///   - zone: First byte of the zone.
  ///   - buffer: The data, as for ``submitAppend(to:from:tag:durable:)``.
  ///   - durable: Whether to wait until the data is on stable media.
  /// - Returns: Where on the device the data went, in bytes.
  /// - Throws: ``VBlkError`` with the values seen.
  @discardableResult
  public mutating func append(
    to zone: UInt64, from buffer: borrowing DMABuffer, durable: Bool = false
  ) throws(VBlkError) -> UInt64 {
    state.lastAppend = .max
    try wait(
      .zoneAppend, at: zone, UInt64(buffer.byteCount), .buffer(buffer.reference), durable: durable)
    precondition(state.lastAppend != .max, "an append ended without its place")
    return state.lastAppend
  }

  /// The zones of the device, or some of them.
  ///
  /// - Parameters:
  ///   - offset: A byte of the first zone to report.
  ///   - limit: Most zones to report.
  /// - Returns: The zones, in their order.
  /// - Throws: ``VBlkError``, `.protocolViolation` where the device reports what can't be.
  public mutating func reportZones(
    from offset: UInt64 = 0, max limit: Int = .max
  ) throws(VBlkError) -> [Zone] {
    guard let zoned = limits.zoned else {
      state.refusal = Refusal(operation: .zoneReport, offset: offset, byteCount: 0)
      throw error(for: .unsupported)
    }
    var zones: [Zone] = []
    var position = offset - offset % zoned.zoneByteCount
    let stride = ZoneReportLayout.descriptorByteCount
    while position < capacity, zones.count < limit {
      let left = min(limit - zones.count, Int((capacity - 1 - position) / zoned.zoneByteCount) + 1)
      let wanted = min(left, Limits.zoneReportBytes / stride - 1)
      let reported = try report(wanted, from: position, zoned)
      zones += reported
      position += UInt64(reported.count) * zoned.zoneByteCount
    }
    return zones
  }

  /// One report of up to `count` zones, at least one.
  private mutating func report(
    _ count: Int, from position: UInt64, _ zoned: ZonedLimits
  ) throws(VBlkError) -> [Zone] {
    let header = ZoneReportLayout.headerByteCount
    let stride = ZoneReportLayout.descriptorByteCount
    let buffer: DMABuffer
    do {
      buffer = try device.memory.allocate(byteCount: header + count * stride, alignment: 4096)
    } catch {
      throw VBlkError(error)
    }
    // A request has one data segment; where the memory is in pieces, the first of them is a page.
    let run = buffer.reference.run(at: 0, limit: buffer.byteCount).byteCount
    let length = try wait(.zoneReport, at: position, UInt64(run), .buffer(buffer.reference))
    let bytes = unsafe buffer.withUnsafeBytes { unsafe Array($0.prefix(length)) }
    let zones = bytes.count < header ? 0 : Self.zoneCount(bytes)
    guard zones > 0, zones <= UInt64((bytes.count - header) / stride), zones <= UInt64(count) else {
      throw reportRefused("\(zones) zones in \(bytes.count) bytes", at: position)
    }
    var list: [Zone] = []
    for index in 0..<Int(zones) {
      let start = position + UInt64(index) * zoned.zoneByteCount
      let descriptor = bytes[(header + index * stride)..<(header + (index + 1) * stride)]
      guard let zone = Zone(descriptor, start: start, zoned, end: capacity) else {
        throw reportRefused("\(Array(descriptor.prefix(26)))", at: start)
      }
      list.append(zone)
    }
    return list
  }

  private static func zoneCount(_ bytes: [UInt8]) -> UInt64 {
    (0..<8).reduce(0) { $0 | UInt64(bytes[$1]) << UInt64(8 * $1) }
  }

  private func reportRefused(_ seen: String, at position: UInt64) -> VBlkError {
    VBlkError(
      .protocolViolation,
      "\(device.info.name) reports \(seen) for the zone at byte \(position) (virtio 1.3, 5.2.6)",
      remedy: "report the device; its zones can't be known")
  }

  // MARK: - Checks

  /// The checks of a command for zones (virtio 1.3, 5.2.6.1).
  mutating func checkZoned(_ operation: Operation, at offset: UInt64, count: UInt64) -> Admission {
    guard let zoned = limits.zoned else { return .refused(.unsupported) }
    if operation == .zoneResetAll { return .accepted(byteCount: 0) }
    guard offset < capacity else { return .refused(.invalidArgument) }
    if operation == .zoneReport { return .accepted(byteCount: count) }
    guard offset % zoned.zoneByteCount == 0 else { return .refused(.zoneInvalidCommand) }
    guard operation == .zoneAppend else { return .accepted(byteCount: 0) }
    guard zoned.maxAppendBytes > 0 else { return .refused(.unsupported) }
    guard count > 0, count % zoned.writeGranularity == 0, count & blockMask == 0 else {
      return .refused(.invalidArgument)
    }
    guard count <= min(zoned.maxAppendBytes, UInt64(limits.maxBioBytes)) else {
      return .refused(.tooLarge)
    }
    return .accepted(byteCount: count)
  }

  /// Takes what the device wrote beside the data: how much of a report there is, or where an append
  /// went, which must be in its zone.
  ///
  /// - Returns: False if the device broke the protocol.
  mutating func takeZonedAnswer(_ id: UInt32, _ length: UInt32) -> Bool {
    let index = records[id].owner
    if records[id].operation == .zoneReport {
      dios[index].byteCount = min(UInt64(length), dios[index].byteCount)
    }
    guard records[id].operation == .zoneAppend, let zoned = limits.zoned else { return true }
    let sector = requests[id].appendSector
    let (position, overflow) = sector.multipliedReportingOverflow(by: Sector.byteCount)
    let start = dios[index].start
    let room = zoned.zoneByteCount - dios[index].byteCount
    guard !overflow, position >= start, position - start <= room,
      position % zoned.writeGranularity == 0
    else {
      violate(.appendOutsideZone, sector, bound: (start + zoned.zoneByteCount) >> Sector.shift)
      return false
    }
    dios[index].appendedAt = position
    return true
  }
}
