internal import VBlk

/// Copies a device onto another through memory that both have mapped: the driver copies nothing,
/// and several chunks are under way at once.
///
/// A lane is one buffer: read, then written run by run, then read again. Its buffer is always in
/// exactly one place: the source's queue, the destination's, or the call that moves it on.
struct Copier: ~Copyable {
  /// Chunks under way.
  static let laneCount = 8
  /// Large enough for a disk to be busy, small enough to be scanned in the cache.
  static let chunkByteCount = 256 << 10

  /// Where a lane is.
  private struct Lane {
    var offset: UInt64 = 0
    var byteCount = 0
    /// Bytes of the chunk that are dealt with.
    var cursor = 0
  }

  private let source: OpenedDevice
  private let destination: OpenedDevice
  private let isFresh: Bool
  private let granule: Int
  private let total: UInt64
  private var reading: Queue
  private var writing: Queue
  private var lanes = [Lane](repeating: Lane(), count: Self.laneCount)
  private var inFlight = 0
  private var position: UInt64 = 0
  private var done: UInt64 = 0
  private var failure: Failure?
  /// Bytes that were found to be zeroes and not written as data.
  private(set) var sparseByteCount: UInt64 = 0
  /// Bytes that the driver copied instead of the devices.
  var bouncedByteCount: UInt64 {
    reading.statistics.bouncedBytes + writing.statistics.bouncedBytes
  }

  /// Prepares a copy of all of `source`.
  ///
  /// - Parameters:
  ///   - source: What is read.
  ///   - destination: What is written, at least as large.
  ///   - isFresh: The destination is known to be all zeroes.
  /// - Throws: What a command ends with.
  init(_ source: OpenedDevice, to destination: OpenedDevice, isFresh: Bool) throws {
    // Queues first: a value that holds one is made whole or not at all.
    try destination.device.attach(source.device.memory)
    let reading = try source.device.makeQueue()
    let writing = try destination.device.makeQueue()
    self.reading = reading
    self.writing = writing
    self.source = source
    self.destination = destination
    self.isFresh = isFresh
    total = source.capacity
    granule = max(
      ZeroRuns.granuleByteCount, Int(source.blockByteCount), Int(destination.blockByteCount))
  }

  /// Copies everything and makes it durable. An error or ^C ends it when all is back that was under
  /// way.
  mutating func run() throws {
    var progress = Progress("copy", total: total)
    defer { progress.finish() }
    for lane in 0..<Self.laneCount where position < total {
      var list = SegmentList(segmentCapacity: 1, bufferCapacity: 1)
      _ = list.add(try source.device.memory.allocate(byteCount: Self.chunkByteCount))
      startRead(lane, list)
    }
    while inFlight > 0 {
      reading.kick()
      while var completion = reading.next() {
        inFlight -= 1
        let lane = Int(completion.tag)
        finishRead(lane, completion.result, completion.segments.take())
      }
      writing.kick()
      while var completion = writing.next() {
        inFlight -= 1
        let lane = Int(completion.tag)
        finishWrite(lane, completion.result, completion.segments.take())
      }
      progress.update(done)
    }
    if let failure { throw failure }
    guard done == total else {
      throw Failure(
        .interrupted,
        "interrupted after \(done) of \(total) bytes; \(destination.name) is "
          + "incomplete")
    }
    try writing.flush()
  }

  /// Gives the lane the next chunk; drops its buffer where there is none, or none is wanted.
  private mutating func startRead(_ lane: Int, _ list: consuming SegmentList) {
    guard position < total, failure == nil, !Interrupt.isRequested else { return }
    let byteCount = Int(min(UInt64(Self.chunkByteCount), total - position))
    lanes[lane] = Lane(offset: position, byteCount: byteCount)
    position += UInt64(byteCount)
    list.removeAllSegments()
    list.append(bufferAt: 0, offset: 0, byteCount: byteCount)
    switch reading.submitRead(at: lanes[lane].offset, into: list, tag: UInt64(lane)) {
    case .queued: inFlight += 1
    case .completed(let result, let list): finishRead(lane, result, list)
    case .refused(.busy, _) where inFlight > 0:
      // The queue holds fewer requests than there are lanes: the others take the chunk.
      position -= UInt64(byteCount)
    case .refused(let code, _): fail("reading", source, lane, code)
    }
  }

  private mutating func finishRead(
    _ lane: Int, _ result: IOResult, _ list: consuming SegmentList?
  ) {
    if let code = result.code { return fail("reading", source, lane, code) }
    guard let list else { return fail("reading", source, lane, .reset) }
    guard result.byteCount == lanes[lane].byteCount else {
      return fail("reading", source, lane, .shortTransfer)
    }
    writeOn(lane, list)
  }

  private mutating func finishWrite(
    _ lane: Int, _ result: IOResult, _ list: consuming SegmentList?
  ) {
    if let code = result.code { return fail("writing", destination, lane, code) }
    guard let list else { return fail("writing", destination, lane, .reset) }
    writeOn(lane, list)
  }

  /// Writes the chunk's next run of data; at its end the lane takes the next chunk.
  private mutating func writeOn(_ lane: Int, _ list: consuming SegmentList) {
    while lanes[lane].cursor < lanes[lane].byteCount, failure == nil {
      let byteCount = lanes[lane].byteCount
      let start = lanes[lane].cursor
      let run = unsafe list.withUnsafeMutableBytes(ofBufferAt: 0) { bytes in
        unsafe ZeroRuns.run(
          in: UnsafeRawBufferPointer(rebasing: bytes[..<byteCount]), from: start, granule: granule)
      }
      let offset = lanes[lane].offset + UInt64(start)
      lanes[lane].cursor = run.end
      if run.isZero, leaveOut(lane, at: offset, byteCount: UInt64(run.end - start)) { continue }
      list.removeAllSegments()
      list.append(bufferAt: 0, offset: start, byteCount: run.end - start)
      switch writing.submitWrite(at: offset, from: list, tag: UInt64(lane)) {
      case .queued:
        inFlight += 1
        return
      case .completed(let result, let back):
        if let code = result.code { return fail("writing", destination, lane, code) }
        list = back
      case .refused(.busy, let back):
        list = back
        do throws(VBlkError) {
          try writing.write(at: offset, from: list)
        } catch {
          return fail("writing", destination, lane, error.code)
        }
      case .refused(let code, _):
        return fail("writing", destination, lane, code)
      }
    }
    guard failure == nil else { return }
    done += UInt64(lanes[lane].byteCount)
    startRead(lane, list)
  }

  /// Makes a run zeroes without writing them.
  ///
  /// - Returns: Whether that was possible; else they are written as data.
  private mutating func leaveOut(_ lane: Int, at offset: UInt64, byteCount: UInt64) -> Bool {
    if !isFresh {
      let block = destination.blockByteCount
      guard destination.device.info.limits.maxWriteZeroesBytes > 0,
        offset.isMultiple(of: block), byteCount.isMultiple(of: block)
      else { return false }
      do throws(VBlkError) {
        try writing.writeZeroes(at: offset, byteCount: byteCount, mayUnmap: true)
      } catch {
        fail("zeroing", destination, lane, error.code)
      }
    }
    sparseByteCount += byteCount
    return true
  }

  /// Keeps the first failure; the lane's buffer goes back to its arena.
  private mutating func fail(
    _ what: String, _ opened: OpenedDevice, _ lane: Int, _ code: VBlkError.Code
  ) {
    guard failure == nil else { return }
    let isStore = code == .ioError && opened.name == destination.name
    failure = Failure(
      Failure.status(of: code),
      "\(what) \(opened.name) failed in the chunk at byte \(lanes[lane].offset): \(code)",
      remedy: isStore ? "see whether its file system is full" : "see whether the device is well")
  }
}
