internal import Virtio

/// A split ring, from the device's side (virtio 1.2, 2.7).
///
/// ```
/// descriptors  [0] [1] [2] …                     driver writes, we read once
/// available    flags idx ring[…] used_event      driver writes, we read once
/// used         flags idx ring[…] avail_event     we write, never read back
/// ```
/// Invariants
/// 1. While the queue is live, the three areas are mapped for `size` entries, a power of two.
/// 2. distance(lastAvailable -> avail.idx) <= size, or the queue is broken.
/// 3. distance(usedPublished -> usedShadow) <= size; used.idx == usedPublished.
///
/// Device order (the letters stand in the driver's ring file too)
/// 1. load avail.idx                                     acquire A
/// 2. ring[slot], descriptors, header: each copied once
/// 3. data, then status
/// 4. used.ring[slot]
/// 5. store used.idx                                     release U
/// 6. store avail_event or used.flags
/// 7. fence N and K: used.idx before the load of used_event (or avail.flags), else a notification
///    is lost; avail_event before the next load of avail.idx, else a kick is lost
/// 8. load used_event -> notify? load avail.idx again
struct SplitRing {
  let descriptors: SharedMemory
  let available: SharedMemory
  let used: SharedMemory
  let size: UInt16
  let mask: UInt16

  // Ours: where we are.
  var lastAvailable: UInt16 = 0
  var usedShadow: UInt16 = 0
  var usedPublished: UInt16 = 0
  /// The used index at the last decision whether to notify.
  var usedNotified: UInt16 = 0

  /// A ring in the areas `memory`: descriptor table, available ring, used ring.
  init(_ memory: [SharedMemory], size: Int) {
    descriptors = memory[0]
    available = memory[1]
    used = memory[2]
    self.size = UInt16(size)
    mask = UInt16(size - 1)
  }

  /// How many entries the driver has made available and we have not taken; more than the ring holds
  /// if its index jumped.
  @inline(__always)
  var pending: UInt16 {
    // Acquire A: the entries and descriptors were written before the index.
    available.load16Acquire(SplitLayout.indexOffset) &- lastAvailable
  }

  /// The head in the next entry of the available ring, unchecked.
  @inline(__always)
  var nextHead: Int { head(after: 0) }

  /// The head `step` entries further on, unchecked.
  @inline(__always)
  func head(after step: UInt16) -> Int {
    let entry = Int((lastAvailable &+ step) & mask)
    return Int(available.load16(SplitLayout.ringOffset &+ SplitLayout.availableStride &* entry))
  }

  /// The two words of descriptor `index`, which is less than the size.
  @inline(__always)
  func words(_ index: Int) -> (UInt64, UInt64) {
    descriptors.loadPair(index &* SplitLayout.descriptorStride)
  }

  /// Writes the next used entry, which stands for `element.span` chains; the driver sees it when
  /// the index is published.
  @inline(__always)
  mutating func push(_ element: UsedElement) {
    let slot = SplitLayout.ringOffset &+ SplitLayout.usedStride &* Int(usedShadow & mask)
    used.store32(slot, UInt32(truncatingIfNeeded: element.id))
    used.store32(slot &+ 4, element.written)
    usedShadow &+= UInt16(truncatingIfNeeded: element.span)
  }

  /// Release U: the driver that sees the index sees the entries, statuses and data.
  mutating func publish() {
    used.store16Release(SplitLayout.indexOffset, usedShadow)
    usedPublished = usedShadow
  }

  /// Says when the driver shall kick (virtio 1.2, 2.7.10.1); the caller fences (K).
  func arm(_ wanted: Bool, eventIndex: Bool) {
    if eventIndex {
      // Left behind, the event lies a whole turn of the index away: no kick.
      if wanted { used.store16(availableEventOffset, lastAvailable) }
    } else {
      used.store16(SplitLayout.flagsOffset, wanted ? 0 : SplitLayout.usedNoNotify)
    }
  }

  /// Whether the driver wants to be told of what was published since the last decision (virtio 1.2,
  /// 2.7.7.2); the caller has fenced (N).
  func wantsNotification(eventIndex: Bool) -> Bool {
    if eventIndex {
      let event = available.load16(SplitLayout.usedEventOffset(size: Int(size)))
      return RingIndex.crosses(
        event: RingIndex(event), from: RingIndex(usedNotified), to: RingIndex(usedPublished))
    }
    let flags = available.load16(SplitLayout.flagsOffset)
    return flags & SplitLayout.availableNoInterrupt == 0
  }

  /// Where `avail_event` stands in ``used``.
  var availableEventOffset: Int { SplitLayout.availableEventOffset(size: Int(size)) }
}
