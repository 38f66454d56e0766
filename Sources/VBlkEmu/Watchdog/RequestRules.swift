internal import Virtio

/// What a request may ask for (virtio 1.2, 5.2.6.1).
extension DeviceQueue {
  /// The first rule that a request breaks; nil too where it has no header to read.
  func requestRule(_ chain: WatchedChain, _ watch: QueueWatch) -> DriverRule? {
    guard let header = chain.readable.first, header.length >= RequestHeader.byteCount,
      let words = peek(header.address)
    else { return nil }
    var out = chain.readable
    out[0].length -= RequestHeader.byteCount
    var into = chain.writable
    if let last = into.indices.last, into[last].length > 0 { into[last].length -= 1 }
    let data = (out + into).filter { $0.length > 0 }
    let byteCount = data.reduce(0) { $0 + UInt64($1.length) }
    let type = RequestType(rawValue: UInt32(truncatingIfNeeded: words.0))
    switch type {
    case .read, .write:
      if let rule = sectorRule(words.1, byteCount, watch) { return rule }
      if type == .write, let rule = zonedWriteRule(words.1, byteCount) { return rule }
    case .getID:
      if byteCount != UInt64(RequestAnswer.idByteCount) { return .dataLength }
    case .discard, .writeZeroes:
      return rangeRule(out, byteCount, discards: type == .discard, watch)
    case .some(let type) where type.isZoned:
      if let rule = zoneRule(type, words.1, out: out) { return rule }
      // An append's answer is no data: it stands with the status (virtio 1.3, 5.2.6).
      if type == .zoneAppend { return segmentRule(out.filter { $0.length > 0 }, watch) }
    default: return nil
    }
    return segmentRule(data, watch)
  }

  private func sectorRule(
    _ sector: UInt64, _ byteCount: UInt64, _ watch: QueueWatch
  ) -> DriverRule? {
    if byteCount % Sector.byteCount != 0 { return .dataLength }
    let capacity = watch.capacitySectors
    let isInside = sector <= capacity && byteCount >> Sector.shift <= capacity - sector
    return isInside ? nil : .beyondCapacity
  }

  private func segmentRule(_ data: [DataSegment], _ watch: QueueWatch) -> DriverRule? {
    let limits = watch.limits
    if limits.segMax != 0, data.count > Int(limits.segMax) { return .segments }
    if limits.sizeMax != 0, data.contains(where: { $0.length > limits.sizeMax }) {
      return .segments
    }
    return nil
  }

  private func rangeRule(
    _ out: [DataSegment], _ byteCount: UInt64, discards: Bool, _ watch: QueueWatch
  ) -> DriverRule? {
    let stride = UInt64(RangeSegment.byteCount)
    if byteCount == 0 || byteCount % stride != 0 { return .dataLength }
    let limits = watch.limits
    let segments = discards ? limits.discardSegments : limits.writeZeroesSegments
    if segments != 0, byteCount / stride > UInt64(segments) { return .ranges }
    for segment in out {
      for offset in Swift.stride(from: UInt64(0), to: UInt64(segment.length), by: 16) {
        guard segment.length % 16 == 0, let words = peek(segment.address &+ offset) else {
          return nil
        }
        if let rule = rangeRule(words, discards: discards, watch) { return rule }
      }
    }
    return nil
  }

  private func rangeRule(
    _ words: (UInt64, UInt64), discards: Bool, _ watch: QueueWatch
  ) -> DriverRule? {
    let count = words.1 & 0xFFFF_FFFF
    let flags = words.1 >> 32
    if flags & ~(discards ? 0 : UInt64(RangeSegment.unmap)) != 0 { return .ranges }
    let most = discards ? watch.limits.discardSectors : watch.limits.writeZeroesSectors
    if most != 0, count > UInt64(most) { return .ranges }
    let capacity = watch.capacitySectors
    let isInside = words.0 <= capacity && count <= capacity - words.0
    return isInside ? nil : .beyondCapacity
  }
}
