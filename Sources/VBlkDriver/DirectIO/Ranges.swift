import DMAPool
import Virtio

/// Discards, write-zeroes and secure erases: a request is a list of ranges, as long and each as
/// large as the device's limits allow (virtio 1.2, 5.2.6).
///
/// The list stands in the slot's payload; a longer one in a bounce block, if one is free.
extension Queue {
  /// Adds a bio of as many ranges as the device takes in one request.
  mutating func addRanges(_ index: UInt32) -> Bool {
    let operation = dios[index].operation
    let limit = limits.range(operation)
    let (wanted, _) = plan(index, limit, upTo: min(limit.maxSegments, Limits.rangesPerBio))
    let bounce = wanted > RequestArea.rangeCapacity ? memory.takeBounceBlock() : nil
    let room = bounce == nil ? RequestArea.rangeCapacity : Limits.rangesPerBio
    let (count, byteCount) = plan(index, limit, upTo: min(wanted, room))
    let head = takeSlot(for: index)
    fill(head, operation, dio: index, position: dios[index].position, 0)
    records[head].block = bounce
    if bounce != nil { memory.details[head] = BounceDetail() }
    var position = dios[index].position
    for place in 0..<count {
      let piece = limit.piece(
        at: position, of: dios[index].start + dios[index].byteCount - position)
      let range = RangeSegment(
        sector: position >> Sector.shift, sectorCount: UInt32(piece >> Sector.shift),
        flags: dios[index].rangeFlags)
      if let bounce {
        bounce.store(range, at: place)
      } else {
        requests[head].write(range, at: place)
      }
      position += piece
    }
    addChain(
      head, address: bounce?.deviceAddress ?? requests[head].payload,
      count: UInt64(count) * UInt64(RangeSegment.byteCount), deviceWrites: false)
    countBios(1, dio: index, consumed: byteCount, next: SourcePlace())
    return true
  }

  /// How many of the ranges that are left, at most `most`, and their bytes.
  private mutating func plan(
    _ index: UInt32, _ limit: RangeLimits, upTo most: Int
  ) -> (count: Int, byteCount: UInt64) {
    var left = dios[index].remaining
    var position = dios[index].position
    var count = 0
    while left > 0, count < most {
      let piece = limit.piece(at: position, of: left)
      position += piece
      left -= piece
      count += 1
    }
    return (count, dios[index].remaining - left)
  }
}

extension RangeLimits {
  /// The next piece of a range: all that is left, or what one segment may be, cut so that the piece
  /// behind it begins on the alignment where that is possible.
  func piece(at position: UInt64, of left: UInt64) -> UInt64 {
    let most = UInt64(maxBytes)
    guard left > most else { return left }
    let end = position + most
    let aligned = end - end % UInt64(alignment)
    return aligned > position ? aligned - position : most
  }
}

extension BlockReference {
  /// Writes the range at place `index` of a list that the block holds.
  func store(_ range: RangeSegment, at index: Int) {
    let offset = index * Int(RangeSegment.byteCount)
    precondition(offset + Int(RangeSegment.byteCount) <= byteCount, "a range beyond its block")
    unsafe base.storeBytes(of: range, toByteOffset: offset, as: RangeSegment.self)
  }
}
