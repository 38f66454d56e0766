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
  @inline(__always)
  mutating func zoneRoom(at position: UInt64) -> UInt64 {
    guard limits.isHostManaged, let zone = limits.zoned?.zoneByteCount else { return .max }
    return zone - position % zone
  }

  /// What happens to the cursor when one of its dio's bios is reaped, before that bio's own drop:
  /// it goes on, or after an error it is emptied.
  @inline(__always)
  mutating func refill(_ index: UInt32) {
    if dios[index].remaining > 0 { goOn(index) }
  }

  @inline(never)
  private mutating func goOn(_ index: UInt32) {
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

  /// Adds the next bio of a dio, in a slot that is there, or several.
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
    if case .buffer(let block) = dios[index].source, block.isOneRun, !limits.isHostManaged {
      addStraight(index, block)
      return true
    }
    let gathered = gather(index)
    // Segments too small or too many to make up one block: the block goes through a bounce block.
    guard gathered.byteCount > 0 else { return addBounced(index) }
    addGathered(index, gathered)
    return true
  }

  // MARK: - One segment each

  /// Adds bios while whole blocks are left and slots free, of memory that is one run for the
  /// device: one segment each. What one differs by from the next is in registers.
  mutating func addStraight(_ index: UInt32, _ block: BlockReference) {
    // One of two, for all that depends on it.
    let operation: Operation = dios[index].operation == .read ? .read : .write
    let blocks = ~blockMask
    let most = limits.maxPlainBytes
    let first = dios[index].position
    let source = block.deviceAddress &+ UInt64(truncatingIfNeeded: dios[index].place.offset)
    let all = dios[index].remaining
    var done: UInt64 = 0
    var bios: UInt32 = 1
    var head = takeSlot(for: index)
    while true {
      let count = min((all &- done) & blocks, most)
      fill(
        head, operation, dio: index, position: first &+ done, UInt32(truncatingIfNeeded: count))
      addChain(head, address: source &+ done, count: count, deviceWrites: operation == .read)
      done &+= count
      guard (all &- done) & blocks != 0, hasSlot else { break }
      head = takeSlot()
      bios &+= 1
    }
    var next = dios[index].place
    next.offset &+= Int(truncatingIfNeeded: done)
    countBios(bios, dio: index, consumed: done, next: next)
  }

  // MARK: - Gathering

  /// Fills the scratch table with the next data segments: runs contiguous for the device, each at
  /// most `maxSegmentSize`, whole blocks in all.
  mutating func gather(_ index: UInt32) -> Gathered {
    let scratch = memory.scratch
    let source = dios[index].source
    var next = dios[index].place
    let inZone = min(dios[index].remaining, zoneRoom(at: dios[index].position))
    let most = Int(min(UInt64(limits.maxBioBytes), inZone) & ~blockMask)
    let room = segmentRoom(for: index)
    var count = 0
    var total = 0
    if case .list(let list) = source {
      (count, total) = list.gather(&next, to: scratch, room, most, limits.maxSegmentSize)
    }
    while total < most, count < room {
      let run = source.takeRun(at: &next, limit: min(most &- total, limits.maxSegmentSize))
      scratch[count] = DeviceSegment(
        address: run.deviceAddress, byteCount: UInt32(truncatingIfNeeded: run.byteCount))
      total &+= run.byteCount
      count &+= 1
    }
    let excess = total & Int(blockMask)
    let gathered = Gathered(segments: count, byteCount: total, next: next)
    return _fastPath(excess == 0) ? gathered : cut(excess, from: gathered, index)
  }

  /// Cuts off what is beyond the last whole block.
  @inline(never)
  private mutating func cut(_ excess: Int, from gathered: Gathered, _ index: UInt32) -> Gathered {
    var count = gathered.segments
    var left = excess
    while left > 0 {
      let last = Int(memory.scratch[count - 1].byteCount)
      if last > left {
        memory.scratch[count - 1].byteCount = UInt32(last - left)
        left = 0
      } else {
        left -= last
        count -= 1
      }
    }
    let total = gathered.byteCount - excess
    return Gathered(
      segments: count, byteCount: total,
      next: dios[index].source.advance(dios[index].place, by: total))
  }

  /// Data segments that the next bio may have: what its table holds, or what the free triples do.
  @inline(__always)
  private mutating func segmentRoom(for index: UInt32) -> Int {
    guard !memory.layout.isIndirect else { return memory.layout.maxSegments }
    let own = dios[index].heldSlot == BioRecord.none ? 1 : 0
    let lendable = max(0, freeCount + state.keptCount - own)
    return min(memory.layout.maxSegments, 1 + 3 * lendable)
  }

  // MARK: - Adding bios

  /// Adds a bio whose data segments are in the scratch table.
  private mutating func addGathered(_ index: UInt32, _ gathered: Gathered) {
    let head = takeSlot(for: index)
    let operation = dios[index].operation
    let segments = gathered.segments
    fill(
      head, operation, dio: index, position: dios[index].position,
      UInt32(truncatingIfNeeded: gathered.byteCount))
    if segments == 1 {
      addChain(
        head, address: memory.scratch[0].address, count: UInt64(memory.scratch[0].byteCount),
        deviceWrites: operation == .read)
    } else {
      addLongChain(head, segments: segments, operation)
    }
    countBios(1, dio: index, consumed: UInt64(gathered.byteCount), next: gathered.next)
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
  @inline(__always)
  mutating func takeSlot(for index: UInt32) -> UInt32 {
    let head = dios[index].heldSlot
    guard _slowPath(head != BioRecord.none) else { return takeSlot() }
    records[head].isLent = false
    dios[index].heldSlot = BioRecord.none
    return head
  }

  /// Fills a slot's record and request for a bio of a dio.
  @inline(__always)
  mutating func fill(
    _ head: UInt32, _ operation: Operation, dio index: UInt32, position: UInt64,
    _ byteCount: UInt32
  ) {
    records[head].block = nil
    records[head].expected =
      operation.isZoned
      ? BioRecord.partOfAnyLength : BioRecord.part | UInt64(operation.writableBytes(byteCount))
    records[head].position = position
    records[head].byteCount = byteCount
    records[head].stamp = tick
    dios[index].stamp = tick
    records[head].owner = index
    records[head].operation = operation
    requests[head].write(
      operation.requestType, sector: operation.namesSector ? position >> Sector.shift : 0)
  }

  /// Counts bios that were added, and moves the cursor over the bytes that they consume, to `next`.
  /// The last bio of an asynchronous dio takes over the cursor's reference.
  mutating func countBios(
    _ count: UInt32, dio index: UInt32, consumed: UInt64, next: SourcePlace
  ) {
    dios[index].place = next
    dios[index].remaining -= consumed
    var references = count - 1
    if dios[index].remaining > 0 || dios[index].isSynchronous { references += 1 }
    guard references > 0 else { return }
    let before = dios[index].count.wrappingAdd(references, ordering: .relaxed).oldValue
    precondition(before > 0, "a reference is taken from at least 1")
  }
}

/// The data segments of a bio that is to be added; they stand in the scratch table.
struct Gathered {
  var segments: Int
  var byteCount: Int
  /// The cursor's place behind them.
  var next: SourcePlace
}
