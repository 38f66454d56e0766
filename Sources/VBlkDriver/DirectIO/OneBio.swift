import Synchronization
import Virtio

/// Operations that are one bio whatever their size: flush, the answers of fixed shape, commands for
/// zones and their report, and the append, which no device could take in parts.
extension Queue {
  /// Adds the bio of an operation that has no cursor.
  mutating func addOneBio(_ index: UInt32) {
    // There is nothing to refill from when it's reaped.
    dios[index].remaining = 0
    if dios[index].isSynchronous { dios[index].count.store(2, ordering: .relaxed) }
    addFixed(dios[index].operation, dio: index)
  }

  /// Adds a bio of `operation`, the dio's own or the FLUSH behind its data. The slot is there
  /// unless a synchronous call's last drop met a full ring; then the dio waits for one.
  mutating func addFixed(_ operation: Operation, dio index: UInt32) {
    guard dios[index].heldSlot != BioRecord.none || hasSlot else { return stall(index) }
    if operation == .zoneAppend { return addAppend(index) }
    let head = takeSlot(for: index)
    let answer = UInt32(truncatingIfNeeded: operation.deviceWrites ? dios[index].byteCount : 0)
    fill(head, operation, dio: index, position: dios[index].start, answer)
    guard answer > 0 else { return addLongChain(head, segments: 0, operation) }
    var address = requests[head].payload
    if operation == .zoneReport {
      var place = SourcePlace()
      address = dios[index].source.takeRun(at: &place, limit: Int(answer)).deviceAddress
    }
    addChain(head, address: address, count: UInt64(answer), deviceWrites: true)
  }

  /// Adds the one bio of an append, whose data was found to fit one.
  private mutating func addAppend(_ index: UInt32) {
    guard fitsAppend(index) else { return stall(index) }
    let gathered = gather(index)
    dios[index].remaining = 0
    let head = takeSlot(for: index)
    fill(
      head, .zoneAppend, dio: index, position: dios[index].start,
      UInt32(truncatingIfNeeded: gathered.byteCount))
    requests[head].poisonAppendSector()
    addLongChain(head, segments: gathered.segments, .zoneAppend)
  }

  /// Whether there are slots enough now for all data segments of an append.
  mutating func fitsAppend(_ index: UInt32) -> Bool {
    dios[index].remaining = dios[index].byteCount
    let gathered = gather(index)
    if UInt64(gathered.byteCount) == dios[index].byteCount { return true }
    dios[index].remaining = 0
    return false
  }

  /// Data segments that a buffer has for the device, each at most as long as it takes.
  mutating func segmentCount(of source: DioSource, byteCount: Int) -> Int {
    var place = SourcePlace()
    var left = byteCount
    var count = 0
    while left > 0 {
      let run = source.takeRun(at: &place, limit: min(left, limits.maxSegmentSize))
      precondition(run.byteCount > 0, "a source with a hole was let through")
      left -= run.byteCount
      count += 1
    }
    return count
  }
}
