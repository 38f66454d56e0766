import DMAPool
public import Synchronization
public import Virtio

/// The fast path of a submission: a dio that is one plain bio, in its slot's own record. What
/// ``isPlain(_:_:_:_:)`` passes on is ``submitSlow(_:at:_:tag:durable:)``'s.
extension Queue {
  /// Whole blocks, 1 to `limit` bytes, on the device, in memory that is one run for it, and a slot
  /// is free.
  @inlinable @inline(__always)
  func isPlain(
    _ offset: UInt64, _ count: UInt64, _ block: BlockReference, _ limit: UInt64
  ) -> Bool {
    _fastPath((offset | count) & blockMask == 0) && _fastPath(count &- 1 < limit)
      && _fastPath(offset <= capacity &- count) && _fastPath(freeCount > 0)
      && _fastPath(block.plainArena == arena)
  }

  /// Makes a plain bio available; it is published by the next kick.
  @inlinable @inline(__always)
  mutating func addPlain(
    _ operation: Operation, at offset: UInt64, _ block: BlockReference, _ count: UInt64,
    tag: UInt64
  ) {
    let head = freeHead
    freeHead = records[head].next
    freeCount &-= 1
    records[head].block = block
    records[head].tag = tag
    records[head].expected = operation == .read ? count &+ 1 : 1
    records[head].position = offset
    records[head].byteCount = UInt32(truncatingIfNeeded: count)
    records[head].count.store(1, ordering: .relaxed)
    records[head].stamp = tick
    records[head].operation = operation
    requests[head].write(operation == .read ? .read : .write, sector: offset &>> Sector.shift)
    records[head].data.write(
      address: block.deviceAddress, count: UInt32(truncatingIfNeeded: count),
      deviceWrites: operation == .read)
    makeAvailable(head)
  }

  @inlinable @inline(__always)
  mutating func makeAvailable(_ head: UInt32) {
    ring.makeAvailable(head, at: availShadow)
    availShadow &+= 1
  }
}
