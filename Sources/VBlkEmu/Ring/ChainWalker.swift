internal import Virtio

/// From a head to a framed request, whatever the framing (virtio 1.2, 2.7.4 and 2.7.5).
///
/// The rules are those of the fast path, which knows one shape only; what breaks a rule breaks the
/// queue, what can't be answered goes back with length 0, what can is answered with an error.
extension SplitQueue {
  /// Fetches the chain at `head` into `request`.
  ///
  /// - Returns: False if the queue is broken; the violation is reported.
  mutating func fetch(_ head: Int, _ request: inout Request) -> Bool {
    request.restart(number: nextRequest, head: head)
    nextRequest &+= 1
    guard walk(head, &request) else { return false }
    frame(&request)
    return true
  }

  private mutating func walk(_ head: Int, _ request: inout Request) -> Bool {
    var index = head
    for _ in 0..<Int(size) {
      let descriptor = ringDescriptor(index)
      let goesOn = descriptor.flags.contains(.next)
      if descriptor.flags.contains(.indirect) {
        guard indirect else { return broken(.indirectNotNegotiated, index, head) }
        guard !goesOn else { return broken(.indirectWithNext, index, head) }
        return walkTable(descriptor, &request)
      }
      guard append(descriptor, index, &request) else { return false }
      guard goesOn else { return true }
      guard descriptor.next < size else {
        return broken(.nextOutOfRange, index, Int(descriptor.next))
      }
      index = Int(descriptor.next)
    }
    return broken(.descriptorLoop, head, Int(size))
  }

  /// Walks the table of `owner`, whose WRITE flag means nothing (virtio 1.2, 2.7.5.3.2).
  private mutating func walkTable(_ owner: Descriptor, _ request: inout Request) -> Bool {
    let stride = UInt32(SplitLayout.descriptorStride)
    guard owner.length > 0, owner.length % stride == 0 else {
      return broken(.indirectLengthInvalid, request.head, Int(owner.length))
    }
    let count = Int(owner.length / stride)
    guard count <= max(Int(size), Limits.indirectDescriptors) else {
      return broken(.chainTooLong, request.head, count)
    }
    var index = 0
    for _ in 0..<count {
      let address = owner.address &+ UInt64(index * SplitLayout.descriptorStride)
      guard let words = loadWords(address) else {
        return broken(.indirectUnmapped, request.head, Int(truncatingIfNeeded: address))
      }
      let descriptor = Descriptor(words: words)
      guard !descriptor.flags.contains(.indirect) else {
        return broken(.indirectNested, request.head, index)
      }
      guard append(descriptor, index, &request) else { return false }
      guard descriptor.flags.contains(.next) else { return true }
      guard Int(descriptor.next) < count else {
        return broken(.nextOutOfRange, index, Int(descriptor.next))
      }
      index = Int(descriptor.next)
    }
    return broken(.descriptorLoop, request.head, count)
  }

  @inline(__always)
  private mutating func append(
    _ descriptor: Descriptor, _ index: Int, _ request: inout Request
  ) -> Bool {
    let segment = DataSegment(address: descriptor.address, length: descriptor.length)
    if descriptor.flags.contains(.write) {
      request.sawWritable = true
      request.writableBytes += UInt64(descriptor.length)
      if descriptor.length > 0 { request.writable.append(segment) }
    } else {
      guard !request.sawWritable else { return broken(.readableAfterWritable, index, request.head) }
      request.readableBytes += UInt64(descriptor.length)
      if descriptor.length > 0 { request.readable.append(segment) }
    }
    return true
  }

  private mutating func broken(
    _ reason: Violation.Reason, _ position: Int, _ value: Int
  ) -> Bool {
    breakQueue(
      reason, at: UInt64(truncatingIfNeeded: position), value: UInt64(truncatingIfNeeded: value))
    return false
  }

  /// Finds the status byte and copies the header.
  private mutating func frame(_ request: inout Request) {
    let position = UInt64(request.head)
    guard request.writableBytes > 0 else {
      request.framing = .unanswerable
      report(.statusMissing, .requestFailed, at: position, value: request.writableBytes)
      return
    }
    let total = request.readableBytes + request.writableBytes
    request.cutStatus()
    guard controlOffset(request.statusAddress) != nil || pages.run(at: request.statusAddress) != nil
    else {
      request.framing = .unanswerable
      reportFault(request.statusAddress, 1, .deviceWrites)
      report(.statusMissing, .requestFailed, at: position, value: request.statusAddress)
      return
    }
    guard request.readableBytes >= UInt64(RequestHeader.byteCount) else {
      request.framing = .unanswerable
      report(.headerMissing, .requestFailed, at: position, value: request.readableBytes)
      return
    }
    guard total <= Limits.chainBytes else {
      request.framing = .failed
      report(.chainTooManyBytes, .requestFailed, at: position, value: total)
      return
    }
    guard copyHeader(&request) else {
      request.framing = .failed
      report(.bufferUnmapped, .requestFailed, at: position, value: request.readable[0].address)
      return
    }
    request.cutHeader()
  }

  private mutating func copyHeader(_ request: inout Request) -> Bool {
    let first = request.readable[0]
    if first.length >= RequestHeader.byteCount {
      guard let words = loadWords(first.address) else { return false }
      request.type = UInt32(truncatingIfNeeded: words.0)
      request.sector = words.1
      return true
    }
    var header = RequestHeader(type: 0, sector: 0)
    let copied = unsafe withUnsafeMutableBytes(of: &header) { bytes in
      guard let base = bytes.baseAddress else { return false }
      return unsafe copyIn(request.readable, Int(RequestHeader.byteCount), to: base)
    }
    request.type = header.type
    request.sector = header.sector
    return copied
  }
}
