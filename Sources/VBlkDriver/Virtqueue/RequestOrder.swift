/// Where the device uses buffers in the order in which they were made available (IN_ORDER): that
/// order, by which one used entry ends all requests up to its own (virtio 1.2, 2.7.9 and 2.8.9).
///
/// ```
/// entries   … [lastUsed] … [end - 1] [end] … [availShadow - 1]     slot | name << 16, masked
///              known to be used       in flight or held back
/// ```
/// A request's *name* is what the device says it by: the first descriptor of its chain in a split
/// ring, the buffer id in a packed one.
///
/// - O1 `end` lies from `lastUsed` to `availPublished`: the batch that is being reaped, empty where
///   it is `lastUsed`. The last of the batch has `length`, all before it were written in full.
/// - O2 an entry is ours alone; the device's word is only compared with names, of requests in
///   flight.
/// - O3 split: `place` is the descriptor where the next chain begins. Chains follow each other
///   through the ring (virtio 1.2, 2.7.5.2), so those in use are 1 with INDIRECT_DESC, else at most
///   3, for each slot that is owned or lent: a free slot has its descriptors.
struct RequestOrder {
  private let entries: Table<UInt32>
  private let mask: UInt16
  var end: UInt16 = 0
  private(set) var length: UInt32 = 0
  var place: UInt16 = 0

  /// - Parameter entries: A power of two of them, at least as many as there are slots.
  init(_ entries: Table<UInt32>) {
    precondition(entries.count.nonzeroBitCount == 1, "indexes of 16 bits must wrap with the table")
    self.entries = entries
    mask = UInt16(entries.count - 1)
  }

  /// Entries for a queue: none but one where the device keeps no order.
  static func entryCount(_ layout: QueueLayout) -> Int {
    guard layout.isInOrder else { return 1 }
    var count = 1
    while count < layout.slotCount { count *= 2 }
    return count
  }

  /// Notes the request that becomes available as number `index`.
  func note(slot: UInt32, name: UInt32, at index: UInt16) {
    entries[UInt32(index & mask)] = slot | name << 16
  }

  /// The slot of request `index`.
  func slot(at index: UInt16) -> UInt32 { entries[UInt32(index & mask)] & 0xFFFF }

  /// Looks for the request that the device names, from `first` up to `limit`; what lies before it
  /// is used too.
  ///
  /// - Returns: Whether it is there; then the batch is known.
  mutating func findBatch(_ name: UInt32, _ length: UInt32, from first: UInt16, to limit: UInt16)
    -> Bool
  {
    var index = first
    while index != limit {
      let entry = entries[UInt32(index & mask)]
      index &+= 1
      if entry >> 16 == name {
        end = index
        self.length = length
        return true
      }
    }
    return false
  }
}
