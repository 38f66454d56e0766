internal import Virtio

/// A piece of a chain: device addresses, not yet translated.
struct DataSegment: Equatable {
  var address: UInt64
  var length: UInt32
}

/// A request as the device holds it: a private copy of everything that the driver wrote.
///
/// A life has five steps, each its own call, so that tests can cut between them: fetch (walk the
/// chain, copy the header), transfer (check, move data), status, used entry and index,
/// notification.
struct Request {
  /// What can still be done for a chain after it was walked.
  enum Framing {
    /// Header and status are there.
    case complete
    /// No status byte can be reached: the head goes back with length 0.
    case unanswerable
    /// The status can be written and must be an error.
    case failed
  }

  /// How far the request has come.
  enum Step {
    case fetched, transferred, answered, used
  }

  /// Which request of the queue it is, counted from 0.
  var number: UInt64 = 0
  /// Its head (split) or buffer id (packed); while a list is walked, its first slot.
  var head = 0
  /// First slot of its list in a packed ring.
  var slot = 0
  /// Slots of its list in a packed ring; in a split one it takes one used entry.
  var span = 0
  var framing = Framing.complete
  var step = Step.fetched
  /// Device-readable pieces, empty ones left out; the header is cut off by ``cutHeader(_:)``.
  var readable: [DataSegment] = []
  /// Device-writable pieces; the status byte is cut off.
  var writable: [DataSegment] = []
  var readableBytes: UInt64 = 0
  var writableBytes: UInt64 = 0
  var sawWritable = false
  /// First entry of `readable` after the header.
  var firstReadable = 0
  var type: UInt32 = 0
  var sector: UInt64 = 0
  var statusAddress: UInt64 = 0
  var status: UInt8 = RequestStatus.ioError.rawValue
  /// Bytes written from the first writable byte on, without a gap, the status not counted.
  var dataWritten: UInt64 = 0
  /// Whether the status byte was written.
  var isAnswered = false
  /// Whether the status byte comes right behind the data written.
  var wroteAllData = false
  /// What a fault rule wants done with it.
  var fault: FaultAction?
  /// Whether it waits for older ones to be used.
  var isWaiting = false

  /// Empties the record for another chain; arrays keep their storage.
  mutating func restart(number: UInt64) {
    self.number = number
    head = 0
    slot = 0
    span = 0
    framing = .complete
    step = .fetched
    readable.removeAll(keepingCapacity: true)
    writable.removeAll(keepingCapacity: true)
    readableBytes = 0
    writableBytes = 0
    sawWritable = false
    firstReadable = 0
    type = 0
    sector = 0
    status = RequestStatus.ioError.rawValue
    dataWritten = 0
    isAnswered = false
    wroteAllData = false
    fault = nil
    isWaiting = false
  }

  /// Whether a fault rule keeps it.
  var isHeld: Bool {
    switch fault {
    case .hold, .delay: true
    default: false
    }
  }

  /// The data that the driver sends, after the header.
  var dataIn: ArraySlice<DataSegment> { readable[firstReadable...] }

  /// The used length: the bytes written without a gap from the first writable one (virtio 1.2,
  /// 2.7.8.2); the status counts when nothing lies unwritten before it.
  var usedLength: UInt32 {
    guard isAnswered else { return 0 }
    let count = wroteAllData || writableBytes == 0 ? writableBytes + 1 : dataWritten
    return UInt32(truncatingIfNeeded: count)
  }

  /// Cuts the 16 bytes of the header off the front of `readable`, however they are framed.
  mutating func cutHeader() {
    var left = RequestHeader.byteCount
    while left > 0, firstReadable < readable.count {
      let step = min(left, readable[firstReadable].length)
      readable[firstReadable].address &+= UInt64(step)
      readable[firstReadable].length -= step
      left -= step
      if readable[firstReadable].length == 0 { firstReadable += 1 }
    }
    readableBytes -= UInt64(RequestHeader.byteCount)
  }

  /// Cuts the status byte, the last writable one (virtio 1.2, 5.2.6), off the end of `writable`; a
  /// device with that defect writes its descriptor's `firstByte`.
  mutating func cutStatus(firstByte: Bool = false) {
    guard var last = writable.popLast() else { return }
    last.length -= 1
    statusAddress = last.address &+ (firstByte ? 0 : UInt64(last.length))
    if last.length > 0 { writable.append(last) }
    writableBytes -= 1
  }
}

/// One request record of a queue's, kept for the storage of its lists: the one that is being served
/// while the queue itself is being changed.
///
/// Invariant: used under the queue's lock, by one call at a time.
@safe
struct RequestScratch {
  private let record: UnsafeMutablePointer<Request>

  init() {
    unsafe record = .allocate(capacity: 1)
    unsafe record.initialize(to: Request())
  }

  @inline(__always)
  func use<Result>(_ body: (inout Request) -> Result) -> Result { unsafe body(&record.pointee) }

  func deallocate() {
    unsafe record.deinitialize(count: 1)
    unsafe record.deallocate()
  }
}
