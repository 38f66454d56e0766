internal import Virtio

/// From a head or a slot to a framed request, whatever the framing (virtio 1.2, 2.7.4, 2.7.5 and
/// 2.8.5 to 2.8.7).
///
/// The rules are those of the fast path, which knows one shape only; what breaks a rule breaks the
/// queue, what can't be answered goes back with length 0, what can is answered with an error.
extension DeviceQueue {
  /// Takes what is next and fetches it into `request`.
  ///
  /// - Returns: False if nothing is available, or the queue is broken; that is reported.
  mutating func fetchNext(_ request: inout Request) -> Bool {
    if isPacked { return fetchPacked(&request) }
    guard let head = takeHead() else { return false }
    return fetch(head, &request)
  }

  /// Fetches the chain at `head` of a split ring into `request`.
  ///
  /// - Returns: False if the queue is broken; the violation is reported.
  mutating func fetch(_ head: Int, _ request: inout Request) -> Bool {
    restart(&request)
    request.head = head
    request.span = 1
    guard walk(head, &request) else { return false }
    frame(&request)
    return true
  }

  /// Fetches the list at the next slot of a packed ring into `request`: its id stands in its last
  /// descriptor (virtio 1.2, 2.8.6).
  private mutating func fetchPacked(_ request: inout Request) -> Bool {
    let word = packed.nextWord
    guard packed.isAvailable(word) else { return false }
    restart(&request)
    request.head = packed.slot
    request.slot = packed.slot
    guard let id = walkPacked(word, &request) else { return false }
    guard id < Int(size), stamps[id] < stamp else {
      return broken(
        id < Int(size) ? .bufferIDInFlight : .bufferIDOutOfRange, request.slot, id)
    }
    stamps[id] = stamp
    request.head = id
    frame(&request)
    return true
  }

  private mutating func restart(_ request: inout Request) {
    request.restart(number: nextRequest)
    nextRequest &+= 1
  }

  private mutating func walk(_ head: Int, _ request: inout Request) -> Bool {
    var index = head
    for _ in 0..<Int(size) {
      let descriptor = Descriptor(words: split.words(index))
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

  /// Takes the list at the next slot, whose second word is `word`: NEXT leads to the slot behind,
  /// each descriptor is available in its turn (virtio 1.2, 2.8.6), and there is no more of it than
  /// the ring has room for.
  ///
  /// - Returns: The id in the last descriptor; nil if the queue is broken.
  private mutating func walkPacked(_ word: UInt64, _ request: inout Request) -> Int? {
    let first = packed.slot
    var word = word
    while request.span < packed.size {
      let slot = packed.slot
      guard packed.isAvailable(word) else { return brokenList(.listNotAvailable, slot, first) }
      let descriptor = Descriptor(packed: (packed.nextAddress, word))
      guard !packed.isFull else { return brokenList(.ringOverrun, slot, first) }
      packed.take(1)
      request.span += 1
      let goesOn = descriptor.flags.contains(.next)
      if descriptor.flags.contains(.indirect) {
        guard indirect else { return brokenList(.indirectNotNegotiated, slot, first) }
        guard !goesOn, request.span == 1 else { return brokenList(.indirectWithNext, slot, first) }
        return walkTable(descriptor, &request) ? Int(descriptor.next) : nil
      }
      guard append(descriptor, slot, &request) else { return nil }
      guard goesOn else { return Int(descriptor.next) }
      word = packed.nextWord
    }
    return brokenList(.chainTooLong, first, request.span)
  }

  private mutating func brokenList(
    _ reason: Violation.Reason, _ position: Int, _ value: Int
  ) -> Int? {
    _ = broken(reason, position, value)
    return nil
  }

  /// Walks the table of `owner`, whose WRITE flag means nothing (virtio 1.2, 2.7.5.3.2 and 2.8.8).
  ///
  /// A packed ring's table has no order of its own: one descriptor after the other, to the end.
  private mutating func walkTable(_ owner: Descriptor, _ request: inout Request) -> Bool {
    let stride = UInt32(SplitLayout.descriptorStride)
    guard owner.length > 0, owner.length % stride == 0 else {
      return broken(.indirectLengthInvalid, request.head, Int(owner.length))
    }
    let count = Int(owner.length / stride)
    let defects = interposition.defects
    if defects.contains(.tableWriteObeyed), owner.flags.contains(.write) {
      return broken(.readableAfterWritable, request.head, count)
    }
    let most = max(Int(size), Limits.indirectDescriptors)
    guard count <= most || defects.contains(.tableUnlimited) else {
      return broken(.chainTooLong, request.head, count)
    }
    var index = 0
    for step in 1...count {
      let address = owner.address &+ UInt64(index * SplitLayout.descriptorStride)
      guard let words = loadWords(address) else {
        return broken(.indirectUnmapped, request.head, Int(truncatingIfNeeded: address))
      }
      let descriptor = isPacked ? Descriptor(packed: words) : Descriptor(words: words)
      guard !descriptor.flags.contains(.indirect) else {
        return broken(.indirectNested, request.head, index)
      }
      guard append(descriptor, index, &request) else { return false }
      if isPacked {
        checkTableFlags(descriptor, index)
        if step == count { return true }
        index += 1
        continue
      }
      guard descriptor.flags.contains(.next) else { return true }
      guard Int(descriptor.next) < count else {
        return broken(.nextOutOfRange, index, Int(descriptor.next))
      }
      index = Int(descriptor.next)
    }
    return broken(.descriptorLoop, request.head, count)
  }

  /// Names flags that a packed ring's table may not have; they mean nothing (virtio 1.2, 2.8.7).
  private mutating func checkTableFlags(
    _ descriptor: Descriptor, _ index: Int
  ) {
    guard !DescriptorFlags.write.isSuperset(of: descriptor.flags) else { return }
    report(
      .tableFlagsReserved, .ignored, at: UInt64(index), value: UInt64(descriptor.flags.rawValue))
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
    request.cutStatus(firstByte: interposition.defects.contains(.statusFirstByte))
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
    if interposition.defects.contains(.framingAssumed) { return false }
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
