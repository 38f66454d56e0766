internal import CHostIO
internal import Glibc
internal import Virtio

/// Accesses of any length through the emulated IOMMU; the fast path has its own, shorter ones.
extension DeviceQueue {
  /// Makes the run of headers, tables and statuses the one at `address`.
  @inline(never)
  mutating func refillControlRun(_ address: UInt64) {
    if let run = pages.run(at: address) { controlRun = run }
  }

  /// Makes the run of data the one at `address`.
  ///
  /// - Returns: False if nothing is mapped there.
  @inline(never)
  mutating func refillDataRun(_ address: UInt64) -> Bool {
    guard let run = pages.run(at: address) else { return false }
    dataRun = run
    return true
  }

  /// Calls `body` for each piece of `address ..< address + count` that is one run in this process.
  ///
  /// - Returns: False if a part is not mapped: the fault is reported, the pieces before were done.
  @inline(__always)
  mutating func forEachPiece(
    _ address: UInt64, _ count: UInt64, _ direction: DMAFault.Direction,
    _ body: (UnsafeMutableRawPointer, Int) -> Void
  ) -> Bool {
    var position = address
    var left = count
    while left > 0 {
      if _slowPath(position &- dataRun.base >= dataRun.length), !refillDataRun(position) {
        reportFault(position, left, direction)
        return false
      }
      let offset = position &- dataRun.base
      let step = min(left, dataRun.length &- offset)
      unsafe body(
        dataRun.host + Int(truncatingIfNeeded: offset), Int(truncatingIfNeeded: step))
      position &+= step
      left &-= step
    }
    return true
  }

  /// Translates `segments` into ``hostSegments``, in order.
  ///
  /// - Returns: False if a part is not mapped; the fault is reported.
  mutating func translate(
    _ segments: some Collection<DataSegment>, _ direction: DMAFault.Direction
  ) -> Bool {
    var pieces = HostSegments()
    swap(&pieces, &hostSegments)
    pieces.removeAll()
    var mapped = true
    for segment in segments {
      mapped = unsafe forEachPiece(segment.address, UInt64(segment.length), direction) {
        unsafe pieces.append($0, $1)
      }
      if !mapped { break }
    }
    swap(&pieces, &hostSegments)
    return mapped
  }

  /// Copies `count` bytes from the front of `segments` to `memory`, once.
  ///
  /// - Returns: False if a part is not mapped; the fault is reported.
  mutating func copyIn(
    _ segments: some Collection<DataSegment>, _ count: Int, to memory: UnsafeMutableRawPointer
  ) -> Bool {
    var done = 0
    for segment in segments {
      if done == count { break }
      let wanted = min(UInt64(segment.length), UInt64(count - done))
      let mapped = unsafe forEachPiece(segment.address, wanted, .deviceReads) {
        unsafe memcpy(memory + done, $0, $1)
        done += $1
      }
      if !mapped { return false }
    }
    return done == count
  }

  /// Copies `bytes` to the front of `segments`.
  ///
  /// - Returns: False if a part is not mapped; the fault is reported.
  mutating func copyOut(_ bytes: [UInt8], _ segments: some Collection<DataSegment>) -> Bool {
    var done = 0
    for segment in segments {
      if done == bytes.count { break }
      let wanted = min(UInt64(segment.length), UInt64(bytes.count - done))
      let mapped = unsafe forEachPiece(segment.address, wanted, .deviceWrites) { memory, count in
        unsafe bytes.withUnsafeBytes { source in
          if let base = source.baseAddress { unsafe memcpy(memory, base + done, count) }
        }
        done += count
      }
      if !mapped { return false }
    }
    return true
  }

  /// Stores one byte at `address`.
  ///
  /// - Returns: False if it is not mapped; the fault is reported.
  mutating func storeByte(_ address: UInt64, _ value: UInt8) -> Bool {
    guard let offset = controlOffset(address) else {
      return unsafe forEachPiece(address, 1, .deviceWrites) { memory, _ in
        unsafe chio_store8_once(memory, value)
      }
    }
    controlRun.memory.store8(offset, value)
    return true
  }

  /// Loads two words at `address`, each byte of them once; nil, and a fault, where nothing is
  /// mapped.
  mutating func loadWords(_ address: UInt64) -> (UInt64, UInt64)? {
    if _fastPath(address & 7 == 0), let offset = controlOffset(address) {
      let memory = controlRun.memory
      return (memory.load64(offset), memory.load64(offset &+ 8))
    }
    var words: (UInt64, UInt64) = (0, 0)
    let segment = CollectionOfOne(DataSegment(address: address, length: 16))
    let copied = unsafe withUnsafeMutableBytes(of: &words) { bytes in
      guard let base = bytes.baseAddress else { return false }
      return unsafe copyIn(segment, 16, to: base)
    }
    return copied ? words : nil
  }
}

extension Descriptor {
  /// Takes a descriptor apart: the address, then length, flags and next as one word.
  @inline(__always)
  init(words: (UInt64, UInt64)) {
    self.init(
      address: words.0, length: UInt32(truncatingIfNeeded: words.1),
      flags: DescriptorFlags(rawValue: UInt16(truncatingIfNeeded: words.1 &>> 32)),
      next: UInt16(truncatingIfNeeded: words.1 &>> 48))
  }

  /// The same of a packed descriptor: length, id and flags as one word. Its id stands in `next`.
  @inline(__always)
  init(packed words: (UInt64, UInt64)) {
    self.init(
      address: words.0, length: UInt32(truncatingIfNeeded: words.1),
      flags: DescriptorFlags(rawValue: UInt16(truncatingIfNeeded: words.1 &>> 48)),
      next: UInt16(truncatingIfNeeded: words.1 &>> 32))
  }
}
