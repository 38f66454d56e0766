internal import Virtio

/// What a disk allows of a request of ranges; 512-byte sectors.
struct RangeLimits {
  /// A request of ranges.
  enum Kind {
    case discard, writeZeroes, secureErase
  }

  private let discard: (sectors: UInt32, segments: UInt32)
  private let writeZeroes: (sectors: UInt32, segments: UInt32)
  private let secureErase: (sectors: UInt32, segments: UInt32)

  init(_ configuration: EmulatedDisk.Configuration) {
    discard = (configuration.maxDiscardSectors, configuration.maxDiscardSegments)
    writeZeroes = (configuration.maxWriteZeroesSectors, configuration.maxWriteZeroesSegments)
    secureErase = (configuration.maxSecureEraseSectors, configuration.maxSecureEraseSegments)
  }

  subscript(kind: Kind) -> (sectors: UInt32, segments: UInt32) {
    switch kind {
    case .discard: discard
    case .writeZeroes: writeZeroes
    case .secureErase: secureErase
    }
  }
}

/// DISCARD, WRITE_ZEROES and SECURE_ERASE: a list of ranges, all checked before any is done (virtio
/// 1.2, 5.2.6.2).
extension DeviceQueue {
  mutating func executeRanges(
    _ request: inout Request, _ kind: RangeLimits.Kind
  ) -> RequestStatus {
    guard !readOnly, request.writableBytes == 0 else { return .ioError }
    let stride = UInt64(RangeSegment.byteCount)
    guard request.readableBytes % stride == 0,
      request.readableBytes / stride <= UInt64(limits[kind].segments)
    else { return .ioError }
    let count = Int(request.readableBytes / stride)
    trace(request.dataIn, request, .deviceReads)
    guard let ranges = copyRanges(request, count) else { return unmapped(request) }
    let defects = interposition.defects
    if !defects.contains(.rangesOneByOne), let refusal = check(ranges, kind) { return refusal }
    var bytes: UInt64 = 0
    for range in ranges {
      if defects.contains(.rangesOneByOne), let refusal = check([range], kind) { return refusal }
      if defects.contains(.unmapKeeps), range.flags & RangeSegment.unmap != 0 { continue }
      if let zones = activeZones, let status = executeZonedRange(range, kind, zones) {
        guard status == .ok else { return status }
      } else {
        let offset = range.sector << Sector.shift
        let error = changeStore(Int(range.sectorCount) << 9, at: offset) { perform(range, kind) }
        guard error == 0 else { return storeFailed(error) }
      }
      bytes += UInt64(range.sectorCount) << Sector.shift
    }
    counters.bytes &+= bytes
    return writeThrough ? executeFlush() : .ok
  }

  /// Does one range.
  ///
  /// - Returns: An errno, 0 for none.
  private func perform(_ range: RangeSegment, _ kind: RangeLimits.Kind) -> CInt {
    let offset = range.sector << Sector.shift
    let length = UInt64(range.sectorCount) << Sector.shift
    switch kind {
    case .discard: return store.discard(length, at: offset)
    case .writeZeroes:
      let unmap = range.flags & RangeSegment.unmap != 0
      return store.writeZeroes(length, at: offset, unmap: unmap)
    // Written over where it is: space that is only given back could be found again.
    case .secureErase: return store.writeZeroes(length, at: offset, unmap: false)
    }
  }

  /// The first reason to refuse any of the ranges.
  private func check(_ ranges: [RangeSegment], _ kind: RangeLimits.Kind) -> RequestStatus? {
    let known = kind == .writeZeroes ? RangeSegment.unmap : 0
    for range in ranges where range.flags & ~known != 0 { return .unsupported }
    for range in ranges {
      guard range.sectorCount <= limits[kind].sectors,
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
