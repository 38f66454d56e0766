internal import Virtio

/// What a disk allows of discards and write-zeroes; 512-byte sectors.
struct RangeLimits {
  var discardSectors: UInt32
  var discardSegments: UInt32
  var writeZeroesSectors: UInt32
  var writeZeroesSegments: UInt32

  init(_ configuration: EmulatedDisk.Configuration) {
    discardSectors = configuration.maxDiscardSectors
    discardSegments = configuration.maxDiscardSegments
    writeZeroesSectors = configuration.maxWriteZeroesSectors
    writeZeroesSegments = configuration.maxWriteZeroesSegments
  }
}

/// DISCARD and WRITE_ZEROES: a list of ranges, all checked before any is done (virtio 1.2,
/// 5.2.6.2).
extension DeviceQueue {
  mutating func executeRanges(_ request: inout Request, zeroes: Bool) -> RequestStatus {
    guard !readOnly, request.writableBytes == 0 else { return .ioError }
    let stride = UInt64(RangeSegment.byteCount)
    let most = UInt64(zeroes ? limits.writeZeroesSegments : limits.discardSegments)
    guard request.readableBytes % stride == 0, request.readableBytes / stride <= most else {
      return .ioError
    }
    let count = Int(request.readableBytes / stride)
    trace(request.dataIn, request, .deviceReads)
    guard let ranges = copyRanges(request, count) else { return unmapped(request) }
    if let refusal = check(ranges, zeroes: zeroes) { return refusal }
    var bytes: UInt64 = 0
    for range in ranges {
      let offset = range.sector << Sector.shift
      let length = UInt64(range.sectorCount) << Sector.shift
      let unmap = range.flags & RangeSegment.unmap != 0
      let error =
        zeroes
        ? store.writeZeroes(length, at: offset, unmap: unmap) : store.discard(length, at: offset)
      guard error == 0 else { return storeFailed(error) }
      bytes += length
    }
    counters.bytes &+= bytes
    guard writeThrough else { return .ok }
    let error = store.flush()
    return error == 0 ? .ok : storeFailed(error)
  }

  /// The first reason to refuse any of the ranges.
  private func check(_ ranges: [RangeSegment], zeroes: Bool) -> RequestStatus? {
    let known = zeroes ? RangeSegment.unmap : 0
    let most = zeroes ? limits.writeZeroesSectors : limits.discardSectors
    for range in ranges where range.flags & ~known != 0 { return .unsupported }
    for range in ranges {
      guard range.sectorCount <= most,
        isInside(sector: range.sector, sectorCount: UInt64(range.sectorCount))
      else { return .ioError }
    }
    return nil
  }

  /// A private copy of the ranges, so that the driver can't change what was checked.
  private mutating func copyRanges(_ request: Request, _ count: Int) -> [RangeSegment]? {
    var ranges = [RangeSegment](
      repeating: RangeSegment(sector: 0, sectorCount: 0, flags: 0), count: count)
    if count == 0 { return ranges }
    let copied = unsafe ranges.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return false }
      return unsafe copyIn(request.dataIn, bytes.count, to: base)
    }
    return copied ? ranges : nil
  }
}
