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
    fits(offset, count, limit) && _fastPath(block.plainArena == arena)
  }

  /// Whole blocks, 1 to `limit` bytes, on the device, and a slot is free.
  @inlinable @inline(__always)
  func fits(_ offset: UInt64, _ count: UInt64, _ limit: UInt64) -> Bool {
    _fastPath((offset | count) & blockMask == 0) && _fastPath(count &- 1 < limit)
      && _fastPath(offset <= capacity &- count) && _fastPath(freeCount > 0)
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
    addChain(
      head, address: block.deviceAddress, count: count, deviceWrites: operation == .read)
  }

  /// Makes a slot's plain chain available, its data at `address`; `count` has 32 bits.
  @inlinable @inline(__always)
  mutating func addChain(_ head: UInt32, address: UInt64, count: UInt64, deviceWrites: Bool) {
    if _slowPath(isPositional) {
      if _slowPath(isInOrder) {
        addInOrder(head, address: address, count: count, deviceWrites: deviceWrites)
      } else {
        addPacked(head, address: address, count: count, deviceWrites: deviceWrites)
      }
    } else {
      records[head].data.write(
        address: address, count: UInt32(truncatingIfNeeded: count), deviceWrites: deviceWrites)
      ring.makeAvailable(head, at: availShadow)
    }
    availShadow &+= 1
  }

  /// Writes a slot's plain chain at a packed ring's next positions.
  @inlinable @inline(__always)
  mutating func addPacked(_ head: UInt32, address: UInt64, count: UInt64, deviceWrites: Bool) {
    if isIndirect {
      records[head].data.writePacked(address: address, count: count, deviceWrites: deviceWrites)
      packed.addTable(head)
    } else {
      packed.addTriple(head, data: address, count: count, deviceWrites: deviceWrites)
    }
  }
}
