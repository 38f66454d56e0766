import Virtio

/// What differs where IN_ORDER is negotiated (virtio 1.2, 2.7.9 and 2.8.9).
///
/// Slots come and go as always, last in first out. Descriptors don't: a split ring's are written at
/// its next ones, as a packed ring's are in any case, and ``RequestOrder`` says whose they are.
///
/// `usedSeen` stays `lastUsed` from call to call, and `pendingWork` is never 0, so that each look
/// is ``attend()``'s: what is known to be used follows from `order`, not from the ring.
extension Queue {
  /// Makes a slot's plain chain available, its data at `address`; `count` has 32 bits.
  @inline(never)
  @usableFromInline
  mutating func addInOrder(_ head: UInt32, address: UInt64, count: UInt64, deviceWrites: Bool) {
    if isPacked {
      order.note(slot: head, name: head, at: availShadow)
      addPacked(head, address: address, count: count, deviceWrites: deviceWrites)
    } else if isIndirect {
      records[head].data.write(
        address: address, count: UInt32(truncatingIfNeeded: count), deviceWrites: deviceWrites)
      addPointer(head, to: requests[head].table)
    } else {
      memory.scratch[0] = DeviceSegment(
        address: address, byteCount: UInt32(truncatingIfNeeded: count))
      addSequence(head, segments: 1, deviceWrites ? .read : .write)
    }
  }

  /// Makes a chain available that is one descriptor, which points to a table.
  mutating func addPointer(_ head: UInt32, to table: DescriptorTable) {
    memory.store(pointerTo: table, at: order.place)
    makeAvailable(head, descriptors: 1)
  }

  /// Makes a chain available of the scratch table's first `segments` data segments, none or
  /// several, in the ring's next descriptors.
  mutating func addSequence(_ head: UInt32, segments: Int, _ operation: Operation) {
    memory.writeSequence(head, segments: segments, operation, at: order.place)
    makeAvailable(head, descriptors: UInt16(segments + 2))
  }

  private mutating func makeAvailable(_ head: UInt32, descriptors count: UInt16) {
    let first = order.place
    order.place = (first &+ count) & ring.mask
    order.note(slot: head, name: UInt32(first), at: availShadow)
    ring.makeAvailable(UInt32(first), at: availShadow)
  }

  // MARK: - Used

  /// Looks for a batch: a used entry that names its last request. Held against I3, and against what
  /// is in flight.
  ///
  /// - Returns: Whether there is something to reap.
  mutating func lookInOrder() -> Bool {
    guard order.end == lastUsed else {
      usedSeen = order.end
      return true
    }
    let seen = usedIndex()
    guard seen &- lastUsed <= availPublished &- lastUsed else {
      violate(.usedIndexJumped, UInt64(seen), bound: UInt64(availPublished))
      return false
    }
    guard seen != lastUsed else { return false }
    let (id, length) =
      isPacked ? PackedRing.usedElement(packed.nextWord) : ring.usedElement(at: lastUsed)
    guard order.findBatch(id, length, from: lastUsed, to: seen) else {
      violateOrder(id, seen: seen)
      return false
    }
    usedSeen = order.end
    return true
  }

  /// The request that is reaped next, and the length that it has: the device's for the last of a
  /// batch, for the others all that could be written.
  mutating func elementInOrder() -> (id: UInt32, length: UInt32) {
    let head = order.slot(at: lastUsed)
    return (head, isSkipped ? writableBytes(head) : order.length)
  }

  /// Whether the request that is reaped next has no used entry of its own.
  var isSkipped: Bool { isInOrder && lastUsed &+ 1 != order.end }

  /// Names what is wrong with a used entry that ends no batch.
  private mutating func violateOrder(_ id: UInt32, seen: UInt16) {
    var later = order
    if later.findBatch(id, 0, from: seen, to: availPublished) {
      // Named ahead of its time: those before it are not used, by the device's own index.
      violate(.usedOutOfOrder, UInt64(id), bound: UInt64(seen))
    } else if id >= UInt32(memory.layout.nameLimit) {
      violate(.usedIDOutOfRange, UInt64(id), bound: UInt64(memory.layout.nameLimit))
    } else {
      violate(.usedIDNotInFlight, UInt64(id), bound: UInt64(memory.layout.nameLimit))
    }
  }
}
