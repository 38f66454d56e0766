/// Slots and dio records: the allocator of heads, or of a packed ring's buffer ids. Free ones are a
/// list through the records, last in first out, so that a warm slot is used next.
extension Queue {
  /// Whether a head can be taken; `freeCount` may be below it, for kept completions hold credits.
  var hasSlot: Bool { freeHead != BioRecord.none }

  /// Takes the head that came free last.
  @inline(__always)
  mutating func takeSlot() -> UInt32 {
    let head = freeHead
    precondition(head != BioRecord.none, "no slot is free")
    freeHead = records[head].next
    freeCount &-= 1
    return head
  }

  /// Gives a head back whose chain is as it was prewritten.
  @inline(__always)
  mutating func freeSlot(_ head: UInt32) {
    records[head].expected = BioRecord.never
    records[head].next = freeHead
    freeHead = head
    freeCount &+= 1
  }

  /// Gives a head back, with the slots lent to its chain, and restores what the chain changed.
  @inline(__always)
  mutating func releaseSlot(_ head: UInt32) {
    if records[head].span != 0 { restoreSlot(head) }
    freeSlot(head)
  }

  @inline(never)
  private mutating func restoreSlot(_ head: UInt32) {
    records[head].span = 0
    var lent = records[head].next
    while lent != BioRecord.none {
      let next = records[lent].next
      records[lent].isLent = false
      memory.prewrite(lent)
      freeSlot(lent)
      lent = next
    }
    memory.restore(head)
  }

  /// Takes the slots that a chain of `segments` data segments needs beside its own (without
  /// INDIRECT_DESC), linked by `next`; as many as there are, and says for how many segments.
  mutating func lendSlots(segments: Int) -> (first: UInt32, segments: Int) {
    var first = BioRecord.none
    var room = 1
    while room < segments, hasSlot {
      let head = takeSlot()
      records[head].isLent = true
      records[head].next = first
      first = head
      room += 3
    }
    return (first, min(room, segments))
  }

  // MARK: - Dio records

  /// Takes a record; there is one for every slot and one more, so an operation that has a slot, or
  /// is the one synchronous call, finds one.
  mutating func takeDio() -> UInt32 {
    let index = state.freeDio
    precondition(index != BioRecord.none, "no dio record is free")
    state.freeDio = dios[index].next
    return index
  }

  mutating func freeDio(_ index: UInt32) {
    dios[index].source = .none
    dios[index].isActive = false
    dios[index].next = state.freeDio
    state.freeDio = index
  }

  /// Keeps a slot for a dio that waits.
  mutating func holdSlot(for index: UInt32) {
    guard dios[index].heldSlot == BioRecord.none, hasSlot else { return }
    let head = takeSlot()
    records[head].isLent = true
    dios[index].heldSlot = head
  }

  mutating func releaseHeldSlot(_ index: UInt32) {
    let head = dios[index].heldSlot
    guard head != BioRecord.none else { return }
    records[head].isLent = false
    freeSlot(head)
    dios[index].heldSlot = BioRecord.none
  }
}
