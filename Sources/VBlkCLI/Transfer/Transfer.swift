internal import VBlk

/// Moves the bytes of one range between a device and a stream, one chunk after the other.
struct Transfer: ~Copyable {
  /// A chunk is large enough for a device to be busy, and small enough for progress and ^C.
  static let chunkByteCount = 1 << 20

  private let opened: OpenedDevice
  private var queue: Queue
  private var buffer: DMABuffer

  init(_ opened: OpenedDevice) throws {
    let queue = try opened.device.makeQueue()
    let buffer = try opened.device.memory.allocate(byteCount: Self.chunkByteCount)
    self.opened = opened
    self.queue = queue
    self.buffer = buffer
  }

  /// Reads a range of the device into a stream.
  mutating func read(_ range: ByteRange, into output: borrowing FileStream) throws {
    var progress = Progress("read", total: range.byteCount)
    defer { progress.finish() }
    var done: UInt64 = 0
    while done < range.byteCount {
      try Interrupt.check()
      buffer.byteCount = Int(min(UInt64(Self.chunkByteCount), range.byteCount - done))
      try queue.read(at: range.offset + done, into: &buffer)
      try unsafe buffer.withUnsafeBytes { bytes throws(Failure) in try unsafe output.write(bytes) }
      done += UInt64(buffer.byteCount)
      progress.update(done)
    }
  }

  /// Writes a stream to the device from an offset on, as far as the stream or `limit` goes, and
  /// makes it durable.
  ///
  /// - Returns: The bytes that were written.
  mutating func write(
    _ input: borrowing FileStream, at offset: UInt64, limit: UInt64?
  ) throws -> UInt64 {
    let room = opened.capacity - offset
    var progress = Progress("write", total: min(limit ?? room, room))
    defer { progress.finish() }
    var done: UInt64 = 0
    while limit.map({ done < $0 }) ?? true {
      try Interrupt.check()
      let wanted = min(UInt64(Self.chunkByteCount), (limit ?? .max) - done)
      buffer.byteCount = Int(wanted)
      let count = try unsafe buffer.withUnsafeMutableBytes { bytes throws(Failure) in
        try unsafe input.read(into: bytes)
      }
      guard count > 0 else { break }
      guard UInt64(count) <= room - done else {
        throw Failure(
          .usage,
          "the input is longer than the \(room) bytes from offset \(offset) to the end of "
            + "\(opened.name); \(done) bytes are written",
          remedy: "give a --length up to \(room)")
      }
      buffer.byteCount = count
      try queue.write(at: offset + done, from: buffer)
      done += UInt64(count)
      progress.update(done)
      if UInt64(count) < wanted { break }
    }
    if let limit, done < limit {
      throw Failure(
        .noInput, "the input ended after \(done) of \(limit) bytes",
        remedy: "give a --length of \(done)")
    }
    try queue.flush()
    return done
  }

  /// Works through a range in pieces with an operation that moves no data.
  mutating func sweep(
    _ verb: String, _ range: ByteRange, by piece: UInt64,
    _ operation: (inout Queue, _ offset: UInt64, _ byteCount: UInt64) throws(VBlkError) -> Void
  ) throws {
    var progress = Progress(verb, total: range.byteCount)
    defer { progress.finish() }
    var done: UInt64 = 0
    while done < range.byteCount {
      try Interrupt.check()
      let count = min(piece, range.byteCount - done)
      try operation(&queue, range.offset + done, count)
      done += count
      progress.update(done)
    }
    try queue.flush()
  }

  /// Makes everything that was written durable.
  mutating func flush() throws(VBlkError) { try queue.flush() }
}
