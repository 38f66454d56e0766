import DMAPool
import Synchronization
import Virtio

/// The cursor of a dio: it turns the bytes that are left into bios, one a slot (rule 6). It holds
/// the submitter's reference and hands it to the last bio.
extension Queue {
  /// Adds bios while there are bytes left and slots free; stalls where a bio needs something that
  /// is not there and none is in flight to bring it.
  ///
  /// - Parameters:
  ///   - index: The dio.
  ///   - isReaping: Whether one of its bios has been reaped and not yet dropped.
  mutating func advanceCursor(_ index: UInt32, isReaping: Bool = false) {
    while dios[index].remaining > 0 {
      if isSequential(index), !isIdle(index, isReaping: isReaping) { return }
      guard dios[index].heldSlot != BioRecord.none || hasSlot, addNextBio(index) else {
        if !dios[index].isStalled, isIdle(index) { stall(index) }
        return
      }
    }
  }

  /// Whether no bio of the dio is in flight that would bring the cursor on when it is reaped.
  private mutating func isIdle(_ index: UInt32, isReaping: Bool = false) -> Bool {
    dios[index].count.load(ordering: .relaxed) == (isReaping ? 2 : 1)
  }

  /// Whether a dio's bios must reach the device one after the other: a host-managed device takes
  /// writes at a zone's write pointer only, and need not take requests in order.
  private mutating func isSequential(_ index: UInt32) -> Bool {
    limits.isHostManaged && dios[index].operation == .write
  }

  /// Bytes from `position` on that one request may cover: those of its zone, where a host-managed
  /// device refuses more (virtio 1.3, 5.2.6.2).
  mutating func zoneRoom(at position: UInt64) -> UInt64 {
    guard limits.isHostManaged, let zone = limits.zoned?.zoneByteCount else { return .max }
    return zone - position % zone
  }

  /// What happens to the cursor when one of its dio's bios is reaped, before that bio's own drop:
  /// it goes on, or after an error it is emptied.
  mutating func refill(_ index: UInt32) {
    guard dios[index].remaining > 0 else { return }
    if dios[index].code != 0 || state.isStopped {
      emptyCursor(index)
    } else {
      advanceCursor(index, isReaping: true)
      // The reaped bio still counts as in flight: a cursor that found nothing must be tried again.
      if dios[index].remaining > 0, !dios[index].isStalled,
        isIdle(index, isReaping: true)
      {
        stall(index)
      }
    }
  }

  /// Gives up the bytes that are left, and the cursor's reference.
  mutating func emptyCursor(_ index: UInt32) {
    dios[index].remaining = 0
    if dios[index].isStalled { unstall(index) }
    releaseHeldSlot(index)
    if !dios[index].isSynchronous { dropDio(index) }
  }

  /// Adds the next bio of a dio, in a slot that is there.
  ///
  /// - Returns: False where it needs a bounce block, or more slots, than there are.
  private mutating func addNextBio(_ index: UInt32) -> Bool {
    if dios[index].operation.isRange { return addRanges(index) }
    precondition(dios[index].operation.isTransfer, "an operation without a cursor")
    if case .memory = dios[index].source { return addBounced(index) }
    let block = UInt64(limits.logicalBlockSize)
    if dios[index].position & blockMask != 0 || dios[index].remaining < block {
      return addBounced(index)
    }
    let gathered = gather(index)
    // Segments too small or too many to make up one block: the block goes through a bounce block.
    guard gathered.byteCount > 0 else { return addBounced(index) }
    return addGathered(index, segments: gathered.segments, byteCount: gathered.byteCount)
  }

  // MARK: - Gathering

  /// Fills the scratch table with the next data segments: runs contiguous for the device, each at
  /// most `maxSegmentSize`, whole blocks in all.
  mutating func gather(_ index: UInt32) -> (segments: Int, byteCount: Int) {
    var place = dios[index].place
    let inZone = min(dios[index].remaining, zoneRoom(at: dios[index].position))
    let most = min(UInt64(limits.maxBioBytes), inZone) & ~blockMask
    let room = segmentRoom(for: index)
    var count = 0
    var total = 0
    while total < Int(most), count < room {
      let run = dios[index].source.run(
        at: place, limit: min(Int(most) - total, limits.maxSegmentSize))
      memory.scratch[count] = DeviceSegment(
        address: run.deviceAddress, byteCount: UInt32(run.byteCount))
      place = dios[index].source.advance(place, by: run.byteCount)
      total += run.byteCount
      count += 1
    }
    // Cut what is beyond the last whole block.
    var excess = total & Int(blockMask)
    total -= excess
    while excess > 0 {
      let last = Int(memory.scratch[count - 1].byteCount)
      if last > excess {
        memory.scratch[count - 1].byteCount = UInt32(last - excess)
        excess = 0
      } else {
        excess -= last
        count -= 1
      }
    }
    return (count, total)
  }

  /// Data segments that the next bio may have: what its table holds, or what the free triples do.
  private mutating func segmentRoom(for index: UInt32) -> Int {
    guard !memory.layout.isIndirect else { return memory.layout.maxSegments }
    let own = dios[index].heldSlot == BioRecord.none ? 1 : 0
    let lendable = max(0, freeCount + state.keptCount - own)
    return min(memory.layout.maxSegments, 1 + 3 * lendable)
  }

  // MARK: - Adding bios

  /// Adds a bio whose data segments are in the scratch table.
  private mutating func addGathered(_ index: UInt32, segments: Int, byteCount: Int) -> Bool {
    let head = takeSlot(for: index)
    let operation = dios[index].operation
    fill(head, operation, dio: index, position: dios[index].position, UInt32(byteCount))
    if segments == 1 {
      addChain(
        head, address: memory.scratch[0].address, count: UInt64(memory.scratch[0].byteCount),
        deviceWrites: operation == .read)
    } else {
      addLongChain(head, segments: segments, operation)
    }
    countBio(dio: index, consumed: byteCount)
    return true
  }

  /// Makes a chain available that is not plain: of the scratch table's first `segments` data
  /// segments, and with the operation's own end.
  mutating func addLongChain(_ head: UInt32, segments: Int, _ operation: Operation) {
    if isIndirect {
      records[head].span = 1
      records[head].next = BioRecord.none
      let table = memory.writeTable(head, segments: segments, operation)
      if isPacked {
        let word = PackedRing.indirect | UInt64(head) << 32 | UInt64(16 * table.count)
        packed.add(table.deviceAddress, word)
      } else if isInOrder {
        addPointer(head, to: table)
      }
    } else {
      records[head].span = UInt8(segments + 2)
      let lent = lendSlots(segments: segments)
      precondition(lent.segments == segments, "gathered more segments than slots can carry")
      records[head].next = lent.first
      if isPacked {
        addList(head, segments: segments, operation)
      } else if isInOrder {
        addSequence(head, segments: segments, operation)
      } else {
        memory.writeTriples(head, segments: segments, lent: lent.first, operation)
      }
    }
    if !isPositional {
      ring.makeAvailable(head, at: availShadow)
    } else if isPacked, isInOrder {
      order.note(slot: head, name: head, at: availShadow)
    }
    availShadow &+= 1
  }

  /// Writes a list of descriptors at a packed ring's next positions, which go with the slots taken
  /// for it.
  private mutating func addList(_ head: UInt32, segments: Int, _ operation: Operation) {
    let request = requests[head]
    let name = UInt64(head) << 32
    let data = PackedRing.next | (operation.deviceWrites ? PackedRing.write : 0)
    let tail = request.tail(operation)
    packed.add(request.header, name | PackedRing.next | PackedRing.headerBytes)
    for index in 0..<segments {
      let segment = memory.scratch[index]
      packed.add(segment.address, name | data | UInt64(segment.byteCount))
    }
    packed.add(tail.address, name | PackedRing.write | UInt64(tail.byteCount))
  }

  /// Takes the slot kept for the dio, or a free one.
  mutating func takeSlot(for index: UInt32) -> UInt32 {
    if dios[index].heldSlot != BioRecord.none {
      let head = dios[index].heldSlot
      dios[index].heldSlot = BioRecord.none
      return head
    }
    return takeSlot()
  }

  /// Fills a slot's record and request for a bio of a dio.
  mutating func fill(
    _ head: UInt32, _ operation: Operation, dio index: UInt32, position: UInt64,
    _ byteCount: UInt32
  ) {
    records[head].block = nil
    records[head].position = position
    records[head].byteCount = byteCount
    records[head].tag = UInt64(byteCount)
    records[head].stamp = tick
    dios[index].stamp = tick
    records[head].owner = index
    records[head].operation = operation
    records[head].state = .owned
    requests[head].write(
      operation.requestType, sector: operation.namesSector ? position >> Sector.shift : 0)
  }

  /// Counts a bio that was added, and moves the cursor over the bytes that it consumes. The last
  /// bio of an asynchronous dio takes over the cursor's reference.
  mutating func countBio(dio index: UInt32, consumed: Int) {
    dios[index].place = dios[index].source.advance(dios[index].place, by: consumed)
    dios[index].remaining -= UInt64(consumed)
    if dios[index].remaining > 0 || dios[index].isSynchronous {
      let before = dios[index].count.wrappingAdd(1, ordering: .relaxed).oldValue
      precondition(before > 0, "a reference is taken from at least 1")
    }
  }
}
