internal import Virtio

/// The common shape, served without the walker: header of 16 bytes, one data descriptor, status of
/// 1 byte; in the ring or in a table of three. Every rule of the walker holds, or the request is
/// left to it, which loads everything anew and judges that: each loads what it uses once.
///
/// The functions answer the bytes moved, or one of three values that no request moves.
extension DeviceQueue {
  /// Nothing more to take: the ring is empty, or the queue broken.
  @inline(__always) static var ended: UInt64 { .max }
  /// The request has another shape: nothing was done.
  @inline(__always) static var notPlain: UInt64 { .max - 1 }
  /// Served by the walker, which has counted it.
  @inline(__always) static var general: UInt64 { .max - 2 }

  /// Asks for the header, table and status lines of the next `count` requests, all at once: the
  /// driver on another processor wrote them, and one at a time each would cost a round trip.
  /// Only a hint: what is wrong is judged when it is served.
  mutating func prefetch(_ count: UInt16) {
    for step in 0..<count {
      let head = split.head(after: step)
      guard head < Int(size), let offset = controlOffset(split.words(head).0) else { return }
      controlRun.memory.prefetch(offset)
      // The status follows the table, or the header, in the next line of most drivers.
      if let status = controlOffset(split.words(head).0 &+ 48) {
        controlRun.memory.prefetchForWriting(status)
      }
    }
  }

  /// Serves the next chain of a split ring.
  @inline(__always)
  mutating func serveNextSplit() -> UInt64 {
    guard let head = takeHead() else { return DeviceQueue.ended }
    let moved = servePlain(head)
    return _fastPath(moved != DeviceQueue.notPlain) ? moved : serveChain(head)
  }

  @inline(__always)
  private mutating func servePlain(_ head: Int) -> UInt64 {
    var header = split.words(head)
    let data: (UInt64, UInt64)
    let status: (UInt64, UInt64)
    if header.1 &<< 16 == Shape.header {
      let first = Int(truncatingIfNeeded: header.1 &>> 48)
      guard _fastPath(first < Int(size)) else { return DeviceQueue.notPlain }
      data = split.words(first)
      let second = Int(truncatingIfNeeded: data.1 &>> 48)
      guard _fastPath(second < Int(size)) else { return DeviceQueue.notPlain }
      status = split.words(second)
      guard _fastPath(status.1 &<< 16 == Shape.status) else {
        return DeviceQueue.notPlain
      }
    } else {
      guard _fastPath(header.1 &<< 16 == Shape.table), _fastPath(indirect),
        _fastPath(header.0 & 7 == 0), let table = controlOffset(header.0)
      else { return DeviceQueue.notPlain }
      let memory = controlRun.memory
      header = memory.loadPair(table)
      data = memory.loadPair(table &+ 16)
      status = memory.loadPair(table &+ 32)
      guard _fastPath(header.1 == Shape.header &>> 16 | 1 << 48),
        _fastPath(data.1 &>> 48 == 2),
        _fastPath(status.1 &<< 16 == Shape.status)
      else { return DeviceQueue.notPlain }
    }
    var element = UsedElement(id: head, span: 1, written: 0, isFull: false)
    let segment = PlainData(data, flags: data.1 &>> 32 & 0xFFFF)
    let moved = movePlain(header.0, segment, status.0, &element)
    if _fastPath(moved != DeviceQueue.notPlain) { pushUsed(element, packed: false) }
    return moved
  }

  /// Serves the next list of a packed ring.
  @inline(__always)
  mutating func serveNextPacked() -> UInt64 {
    let moved = servePlainPacked()
    return _fastPath(moved != DeviceQueue.notPlain) ? moved : serveChain(nil)
  }

  @inline(__always)
  private mutating func servePlainPacked() -> UInt64 {
    // Of second words all is compared but ids, and of data the length; what differs is not 0.
    let word = packed.nextWord ^ packed.availableBits
    if word & PackedShape.isTable != 0 {
      let address = packed.nextAddress
      guard _fastPath(word & PackedShape.withoutID == PackedShape.table), _fastPath(indirect),
        _fastPath(address & 7 == 0), let table = controlOffset(address)
      else { return DeviceQueue.notPlain }
      let memory = controlRun.memory
      let header = memory.loadPair(table)
      let data = memory.loadPair(table &+ 16)
      let status = memory.loadPair(table &+ 32)
      let other =
        (header.1 ^ PackedShape.first | status.1 ^ PackedShape.last) & PackedShape.withoutID
        | data.1 & PackedShape.otherFlags
      guard _fastPath(other == 0) else { return DeviceQueue.notPlain }
      return movePacked(word, 1, header.0, PlainData(data, flags: data.1 &>> 48 | 1), status.0)
    }
    // Until the first is available, the others are the driver's: they are not even read.
    guard _fastPath(word & PackedShape.withoutID == PackedShape.header),
      _fastPath(packed.slot &+ 3 <= packed.size)
    else { return DeviceQueue.notPlain }
    let header = packed.nextAddress
    let data = packed.words(packed.slot &+ 1)
    let status = packed.words(packed.slot &+ 2)
    let last = status.1 ^ packed.availableBits
    guard _fastPath(last & PackedShape.withoutID == PackedShape.last) else {
      return DeviceQueue.notPlain
    }
    let flags = (data.1 ^ packed.availableBits) &>> 48
    return movePacked(last, 3, header, PlainData(data, flags: flags), status.0)
  }

  /// Serves a list of `span` descriptors whose id stands in `word`.
  @inline(__always)
  private mutating func movePacked(
    _ word: UInt64, _ span: Int, _ header: UInt64, _ data: PlainData, _ status: UInt64
  ) -> UInt64 {
    let id = Int(truncatingIfNeeded: word &>> 32 & 0xFFFF)
    guard _fastPath(id < packed.size), _fastPath(stamps[id] < stamp),
      _fastPath(packed.behind &+ packed.pushed &+ span <= packed.size)
    else { return DeviceQueue.notPlain }
    var element = UsedElement(id: id, span: span, written: 0, isFull: false)
    let moved = movePlain(header, data, status, &element)
    guard _fastPath(moved != DeviceQueue.notPlain) else { return DeviceQueue.notPlain }
    stamps[id] = stamp
    if _fastPath(packed.behind == 0), _fastPath(!merges) {
      packed.exchange(element)
    } else {
      packed.take(span)
      pushUsed(element, packed: true)
    }
    return moved
  }

  /// The data descriptor of the common shape; a read's flags are NEXT | WRITE, a write's NEXT.
  private struct PlainData {
    let address: UInt64
    let length: UInt64
    let flags: UInt64

    @inline(__always)
    init(_ words: (UInt64, UInt64), flags: UInt64) {
      address = words.0
      length = words.1 & 0xFFFF_FFFF
      self.flags = flags
    }
  }

  /// Checks and does a read or write of one data descriptor, and writes its status; what is to be
  /// said of it goes into `element`.
  @inline(__always)
  private mutating func movePlain(
    _ header: UInt64, _ data: PlainData, _ status: UInt64, _ element: inout UsedElement
  ) -> UInt64 {
    guard _fastPath(header & 7 == 0), let headerOffset = controlOffset(header) else {
      return DeviceQueue.notPlain
    }
    let type = UInt32(truncatingIfNeeded: controlRun.memory.load64(headerOffset))
    let sector = controlRun.memory.load64(headerOffset &+ 8)
    // The last look-up: it may have changed the run, and its offset is used to the end.
    guard let statusOffset = controlOffset(status) else { return DeviceQueue.notPlain }
    let length = data.length
    let reading = type == RequestType.read.rawValue && data.flags == 3
    let writing =
      type == RequestType.write.rawValue && data.flags == 1 && !readOnly && !writeThrough
    guard _fastPath(reading || writing), _fastPath(length & 511 == 0), _fastPath(length != 0),
      _fastPath(sector <= capacitySectors),
      _fastPath(length &>> Sector.shift <= capacitySectors &- sector)
    else { return DeviceQueue.notPlain }
    var dataOffset = dataRun.offset(data.address, length)
    if _slowPath(dataOffset == nil) {
      guard refillDataRun(data.address) else { return DeviceQueue.notPlain }
      dataOffset = dataRun.offset(data.address, length)
    }
    guard let dataOffset else { return DeviceQueue.notPlain }
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
      element.written = reading ? 0 : 1
      return 0
    }
    controlRun.memory.store8(statusOffset, RequestStatus.ok.rawValue)
    element.written = reading ? UInt32(truncatingIfNeeded: length) &+ 1 : 1
    element.isFull = true
    return length
  }

  /// Where in ``controlRun`` a header, table or status is; the run is looked up anew if need be.
  @inline(__always)
  mutating func controlOffset(_ address: UInt64) -> Int? {
    if let offset = controlRun.short(address) { return offset }
    refillControlRun(address)
    return controlRun.short(address)
  }
}

/// The second words of split descriptors of the common shape, `next` shifted out: length at bit 16,
/// flags at bit 48.
private enum Shape {
  /// 16 bytes, NEXT.
  @inline(__always) static var header: UInt64 { 16 << 16 | 1 << 48 }
  /// 1 byte, WRITE, the last.
  @inline(__always) static var status: UInt64 { 1 << 16 | 2 << 48 }
  /// A table of three, INDIRECT.
  @inline(__always) static var table: UInt64 { 48 << 16 | 4 << 48 }
}

/// The second words of packed descriptors of the common shape, id masked out: length at bit 0,
/// flags at bit 48.
private enum PackedShape {
  /// All but the id.
  @inline(__always) static var withoutID: UInt64 { ~(0xFFFF << 32) }
  /// All flags but WRITE.
  @inline(__always) static var otherFlags: UInt64 { 0xFFFD << 48 }
  /// INDIRECT.
  @inline(__always) static var isTable: UInt64 { 4 << 48 }
  /// A table of three, INDIRECT.
  @inline(__always) static var table: UInt64 { 48 | isTable }
  /// 16 bytes, in a table.
  @inline(__always) static var first: UInt64 { 16 }
  /// 16 bytes, NEXT.
  @inline(__always) static var header: UInt64 { 16 | 1 << 48 }
  /// 1 byte, WRITE.
  @inline(__always) static var last: UInt64 { 1 | 2 << 48 }
}
