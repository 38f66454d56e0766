public import DMAPool
public import Synchronization

/// Polling in batches: what ``Queue/next()`` does for one operation, for all that were seen, with
/// the queue's positions in registers. No user code can reach the queue meanwhile: it is borrowed.
extension Queue {
  /// Hands every finished operation to `body`, at most `limit` of them; never blocks.
  ///
  /// - Parameters:
  ///   - limit: The most that are handed over.
  ///   - body: What is done with each; it can't reach the queue, and what it wants to resubmit it
  ///     keeps until the call returns. See ``next()`` for a loop that resubmits.
  /// - Returns: How many operations were handed over.
  @inlinable @inline(__always)
  @discardableResult
  public mutating func poll(max limit: Int = .max, _ body: (consuming Completion) -> Void) -> Int {
    var count = 0
    while count < limit {
      let found = lastUsed == usedSeen ? look() : .some
      if found == .none { break }
      if _fastPath(found == .some) {
        count &+= pollPlain(limit &- count, body)
        if lastUsed == usedSeen { continue }
        if count == limit { break }
      }
      guard let done = found == .some ? nextSlow() : attend() else { break }
      body(done)
      count &+= 1
    }
    return count
  }

  /// Hands over plain operations of those that were seen, up to the first that is not.
  @inlinable @inline(__always)
  mutating func pollPlain(_ limit: Int, _ body: (consuming Completion) -> Void) -> Int {
    let records = records
    let requests = requests
    let headLimit = headLimit
    let first = Int(lastUsed)
    let end = first &+ min(limit, Int(usedSeen &- lastUsed))
    var index = first
    var free = freeHead
    var walk = packed
    var bytes: UInt64 = 0
    while index != end {
      let id: Int
      let length: UInt64
      if _slowPath(isPacked) {
        let word = walk.nextWord
        guard _fastPath(walk.isUsed(word)) else { break }
        let element = PackedRing.usedElement(word)
        id = Int(truncatingIfNeeded: element.id)
        length = UInt64(element.length)
        walk.stepPlain()
      } else {
        let element = ring.usedElement(at: UInt16(truncatingIfNeeded: index))
        id = Int(truncatingIfNeeded: element.id)
        length = UInt64(element.length)
      }
      let head = UInt32(truncatingIfNeeded: id)
      guard _fastPath(head < headLimit), _fastPath(length == records[id].expected),
        _fastPath(requests[id].status == 0)
      else {
        if isPacked { walk.unstepPlain() }
        break
      }
      index &+= 1
      records[id].expected = BioRecord.never
      records[id].next = free
      free = head
      let byteCount = Int(records[id].byteCount)
      bytes &+= UInt64(byteCount)
      // Only a synchronous call holds another reference, and none is under way.
      let references = records[id].count.wrappingSubtract(1, ordering: .acquiringAndReleasing)
      guard _fastPath(references.newValue == 0) else { continue }
      body(
        Completion(
          tag: records[id].tag, result: IOResult(success: byteCount),
          buffer: DMABuffer(records[id].plainBlock), segments: nil))
    }
    if _slowPath(isPacked) { packed.goOn(from: walk) }
    freeHead = free
    freeCount &+= index &- first
    lastUsed = UInt16(truncatingIfNeeded: index)
    counters.bytes &+= bytes
    return index &- first
  }
}
