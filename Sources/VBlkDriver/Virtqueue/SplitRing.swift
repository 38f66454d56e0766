public import CHostIO
public import Virtio

/// The three areas of a split virtqueue, as the driver uses them (virtio 1.2, 2.7).
///
/// ```
/// descriptors  [0] [1] [2] …                  we write, device reads; never read back
/// avail        flags idx ring[…] used_event   we write, device reads; never read back
/// used         flags idx ring[…] avail_event  device writes; each value is read once
/// ```
/// Invariants of a queue on this ring:
/// - I1 slots that are free + slots that are owned by a bio (+ slots lent to a longer chain) = all.
/// - I2 a head is in flight exactly when its ``BioRecord`` is owned; the device's word decides
///   neither.
/// - I3 `availPublished - lastUsed`, modulo 2^16, is the number of published requests that have not
///   been reaped; it is at most the ring's size.
/// - I4 nothing read from `used` is acted on before it was held against I2 and I3.
///
/// ```
/// driver order                                    device order
/// 1 header, descriptors, status, avail.ring       1 load avail.idx               acquire A
/// 2 store avail.idx                 release A     2 avail.ring, descriptors
/// 3 fence K, load avail_event / used.flags        3 data, status
/// 4 load used.idx                   acquire U     4 used.ring
/// 5 used.ring, status, data                       5 store used.idx               release U
///                                                 6 before sleep: store avail_event, fence K,
///                                                   load avail.idx
/// ```
/// Without A the device reads half-written chains; without U we read a status or data that is not
/// there yet; without K both sides sleep: we see "no kick wanted" while it sees "nothing new".
///
/// - I5 the pointers lie in the ring's memory, which outlives every queue; an entry's place is its
///   index masked by the ring's size, so that no index leads out of the ring.
@safe
@frozen
@usableFromInline
struct SplitRing {
  @usableFromInline let descriptors: DescriptorTable
  @usableFromInline let avail: UnsafeMutableRawPointer
  @usableFromInline let used: UnsafeMutableRawPointer
  @usableFromInline let availEvent: UnsafeMutableRawPointer
  @usableFromInline let usedEvent: UnsafeMutableRawPointer
  @usableFromInline let mask: UInt16

  init(_ memory: SharedRun, layout: QueueLayout) {
    descriptors = DescriptorTable(
      memory.advanced(by: layout.descriptorsOffset), count: layout.size)
    unsafe avail = memory.base + layout.availOffset
    unsafe used = memory.base + layout.usedOffset
    unsafe availEvent = used + SplitLayout.availableEventOffset(size: layout.size)
    unsafe usedEvent = avail + SplitLayout.usedEventOffset(size: layout.size)
    mask = UInt16(layout.size - 1)
  }

  /// Puts a chain's head where the device looks next; seen by it only after ``publish(_:)``.
  @inlinable @inline(__always)
  func makeAvailable(_ head: UInt32, at index: UInt16) {
    let slot = unsafe avail + SplitLayout.ringOffset + Int(index & mask) &<< 1
    unsafe chio_store16_once(slot, UInt16(truncatingIfNeeded: head))
  }

  /// Shows the device all that stands before `index`.
  @inlinable @inline(__always)
  func publish(_ index: UInt16) {
    unsafe chio_store16_release(avail + SplitLayout.indexOffset, index)  // release A
  }

  /// How far the device says it is.
  @inlinable @inline(__always)
  func usedIndex() -> UInt16 {
    unsafe chio_load16_acquire(used + SplitLayout.indexOffset)  // acquire U
  }

  /// One used entry: two 32-bit loads, for entries are only 4-byte aligned.
  @inlinable @inline(__always)
  func usedElement(at index: UInt16) -> (id: UInt32, length: UInt32) {
    let element = unsafe used + SplitLayout.ringOffset + Int(index & mask) &<< 3
    return unsafe (chio_load32_once(element), chio_load32_once(element + 4))
  }

  /// Whether the device wants to be told that the index moved from `old` to `new`
  /// (virtio 1.2, 2.7.10). Fence K stands before it.
  @inlinable @inline(__always)
  func wantsKick(from old: UInt16, to new: UInt16, eventIndex: Bool) -> Bool {
    if eventIndex {
      let event = unsafe chio_load16_once(availEvent)
      return RingIndex.crosses(event: RingIndex(event), from: RingIndex(old), to: RingIndex(new))
    }
    return unsafe chio_load16_once(used + SplitLayout.flagsOffset) & SplitLayout.usedNoNotify == 0
  }

  /// Asks the device for an interrupt when it uses the next entry; fence N stands after it.
  func requestInterrupt(lastUsed: UInt16, eventIndex: Bool) {
    unsafe chio_store16_once(avail + SplitLayout.flagsOffset, 0)
    if eventIndex { unsafe chio_store16_once(usedEvent, lastUsed) }
  }

  /// Asks the device for no interrupts: by the flag, or by an event that lies behind
  /// (virtio 1.2, 2.7.7.1).
  func suppressInterrupts(lastUsed: UInt16, eventIndex: Bool) {
    if eventIndex {
      unsafe chio_store16_once(avail + SplitLayout.flagsOffset, 0)
      unsafe chio_store16_once(usedEvent, lastUsed &- 1)
    } else {
      unsafe chio_store16_once(avail + SplitLayout.flagsOffset, SplitLayout.availableNoInterrupt)
    }
  }
}
