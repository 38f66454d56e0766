import DMAPool
import Synchronization
import Virtio

/// The cursor of a dio: it turns the bytes that are left into bios, one a slot (rule 6). It holds
/// the submitter's reference and hands it to the last bio.
extension Queue {
  /// Adds bios while there are bytes left and slots free; stalls where a bio needs something that
  /// is not there and none is in flight to bring it.
  mutating func advanceCursor(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    while dio.pointee.remaining > 0 {
      guard dio.pointee.heldSlot != BioRecord.none || hasSlot, addNextBio(index) else {
        if !dio.pointee.isStalled, isIdle(index) { stall(index) }
        return
      }
    }
  }

  /// Whether no bio of the dio is in flight that would bring the cursor on when it is reaped.
  private func isIdle(_ index: UInt32) -> Bool {
    memory.dios[Int(index)].count.load(ordering: .relaxed) == 1
  }

  /// What happens to the cursor when one of its dio's bios is reaped, before that bio's own drop:
  /// it goes on, or after an error it is emptied.
  mutating func refill(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    guard dio.pointee.remaining > 0 else { return }
    if dio.pointee.code != 0 || state.isStopped {
      emptyCursor(index)
    } else {
      advanceCursor(index)
      // The reaped bio still counts as in flight: a cursor that found nothing must be tried again.
      if dio.pointee.remaining > 0, !dio.pointee.isStalled,
        dio.pointee.count.load(ordering: .relaxed) == 2
      {
        stall(index)
      }
    }
  }

  /// Gives up the bytes that are left, and the cursor's reference.
  mutating func emptyCursor(_ index: UInt32) {
    let dio = memory.dios + Int(index)
    dio.pointee.remaining = 0
    if dio.pointee.isStalled { unstall(index) }
    releaseHeldSlot(index)
    if !dio.pointee.isSynchronous { dropDio(index) }
  }

  /// Adds the next bio of a dio, in a slot that is there.
  ///
  /// - Returns: False where it needs a bounce block, or more slots, than there are.
  private mutating func addNextBio(_ index: UInt32) -> Bool {
    let dio = memory.dios + Int(index)
    switch dio.pointee.operation {
    case .discard, .writeZeroes: return addRange(index)
    case .flush, .identify: preconditionFailure("an operation without a cursor")
    case .read, .write: break
    }
    if case .memory = dio.pointee.source { return addBounced(index) }
    let block = UInt64(limits.logicalBlockSize)
    if dio.pointee.position & blockMask != 0 || dio.pointee.remaining < block {
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
  private func gather(_ index: UInt32) -> (segments: Int, byteCount: Int) {
    let dio = memory.dios + Int(index)
    var place = dio.pointee.place
    let most = min(UInt64(limits.maxBioBytes), dio.pointee.remaining) & ~blockMask
    let room = segmentRoom(for: index)
    var count = 0
    var total = 0
    while total < Int(most), count < room {
      let run = deviceRun(dio.pointee.source, at: place, limit: Int(most) - total)
      memory.scratch[count] = DeviceSegment(
        address: run.deviceAddress, byteCount: UInt32(run.byteCount))
      place = dio.pointee.source.advance(place, by: run.byteCount)
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
  private func segmentRoom(for index: UInt32) -> Int {
    guard !memory.layout.isIndirect else { return memory.layout.maxSegments }
    let own = memory.dios[Int(index)].heldSlot == BioRecord.none ? 1 : 0
    let lendable = max(0, freeCount + state.keptCount - own)
    return min(memory.layout.maxSegments, 1 + 3 * lendable)
  }

  private func deviceRun(
    _ source: DioSource, at place: SourcePlace, limit: Int
  ) -> (deviceAddress: UInt64, byteCount: Int) {
    let most = min(limit, limits.maxSegmentSize)
    switch source {
    case .none, .memory: preconditionFailure("no DMA memory to gather")
    case .buffer(let block):
      guard block.pointee.plainArena == 0 else {
        return (block.pointee.deviceAddress + UInt64(place.offset), most)
      }
      return block.pointee.run(at: place.offset, limit: most)
    case .list(let list):
      let segment = list.pointee.segments[place.segment]
      let room = min(most, segment.byteCount - place.offset)
      let offset = segment.offset + place.offset
      guard segment.block.pointee.plainArena == 0 else {
        return (segment.block.pointee.deviceAddress + UInt64(offset), room)
      }
      return segment.block.pointee.run(at: offset, limit: room)
    }
  }

  // MARK: - Adding bios

  /// Adds a bio whose data segments are in the scratch table.
  private mutating func addGathered(_ index: UInt32, segments: Int, byteCount: Int) -> Bool {
    let dio = memory.dios + Int(index)
    let head = takeSlot(for: index)
    let operation = dio.pointee.operation
    fill(head, operation, dio: index, position: dio.pointee.position, UInt32(byteCount))
    if segments == 1 {
      writeData(
        records[Int(head)].data, address: memory.scratch[0].address,
        count: memory.scratch[0].byteCount, deviceWrites: operation == .read)
    } else {
      writeLongChain(head, segments: segments, deviceWrites: operation == .read)
    }
    addBio(head, dio: index, consumed: byteCount)
    return true
  }

  private mutating func writeLongChain(_ head: UInt32, segments: Int, deviceWrites: Bool) {
    records[Int(head)].isRewritten = true
    if memory.layout.isIndirect {
      records[Int(head)].next = BioRecord.none
      memory.writeTable(head, segments: segments, deviceWrites: deviceWrites)
    } else {
      let lent = lendSlots(segments: segments)
      precondition(lent.segments == segments, "gathered more segments than slots can carry")
      records[Int(head)].next = lent.first
      memory.writeTriples(
        head, segments: segments, lent: lent.first, deviceWrites: deviceWrites)
    }
  }

  /// Adds a bio of one range: part of a discard or write-zeroes, cut to the device's limit.
  private mutating func addRange(_ index: UInt32) -> Bool {
    let dio = memory.dios + Int(index)
    let operation = dio.pointee.operation
    let limit = operation == .discard ? limits.maxDiscardBytes : limits.maxWriteZeroesBytes
    let count = min(dio.pointee.remaining, UInt64(limit))
    let position = dio.pointee.position
    let head = takeSlot(for: index)
    fill(head, operation, dio: index, position: position, 0)
    records[Int(head)].tag = count
    writeRequest(head, type: operation == .discard ? .discard : .writeZeroes, sector: 0)
    memory.payload(head).storeBytes(
      of: RangeSegment(
        sector: position >> Sector.shift, sectorCount: UInt32(count >> Sector.shift),
        flags: dio.pointee.rangeFlags),
      as: RangeSegment.self)
    writeData(
      records[Int(head)].data, address: memory.payloadAddress(head),
      count: RangeSegment.byteCount, deviceWrites: false)
    addBio(head, dio: index, consumed: Int(count))
    return true
  }

  /// Adds a bio that needs no memory of the user's: a flush, or the id string. The slot is there
  /// unless a synchronous call's last drop met a full ring; then the dio waits for one.
  mutating func addFixed(
    _ operation: Operation, dio index: UInt32, byteCount: UInt32
  ) {
    guard memory.dios[Int(index)].heldSlot != BioRecord.none || hasSlot else {
      return stall(index)
    }
    let head = takeSlot(for: index)
    fill(head, operation, dio: index, position: 0, byteCount)
    writeRequest(head, type: operation == .flush ? .flush : .getID, sector: 0)
    if operation == .flush {
      writeLongChain(head, segments: 0, deviceWrites: false)
    } else {
      writeData(
        records[Int(head)].data, address: memory.payloadAddress(head), count: byteCount,
        deviceWrites: true)
    }
    makeAvailable(head)
  }

  /// Takes the slot kept for the dio, or a free one.
  mutating func takeSlot(for index: UInt32) -> UInt32 {
    let dio = memory.dios + Int(index)
    if dio.pointee.heldSlot != BioRecord.none {
      let head = dio.pointee.heldSlot
      dio.pointee.heldSlot = BioRecord.none
      return head
    }
    return takeSlot()
  }

  /// Fills a slot's record and request for a bio of a dio.
  mutating func fill(
    _ head: UInt32, _ operation: Operation, dio index: UInt32, position: UInt64,
    _ byteCount: UInt32
  ) {
    let record = records + Int(head)
    record.pointee.block = nil
    record.pointee.position = position
    record.pointee.byteCount = byteCount
    record.pointee.tag = UInt64(byteCount)
    record.pointee.stamp = memory.dios[Int(index)].stamp
    record.pointee.owner = index
    record.pointee.operation = operation
    record.pointee.state = .owned
    if operation == .read || operation == .write {
      writeRequest(
        head, type: operation == .read ? .read : .write, sector: position >> Sector.shift)
    }
  }

  /// Counts a bio, moves the cursor over the bytes that it consumes, and makes it available. The
  /// last bio of an asynchronous dio takes over the cursor's reference.
  mutating func addBio(_ head: UInt32, dio index: UInt32, consumed: Int) {
    let dio = memory.dios + Int(index)
    dio.pointee.place = dio.pointee.source.advance(dio.pointee.place, by: consumed)
    dio.pointee.remaining -= UInt64(consumed)
    if dio.pointee.remaining > 0 || dio.pointee.isSynchronous {
      let before = dio.pointee.count.wrappingAdd(1, ordering: .relaxed).oldValue
      precondition(before > 0, "a reference is taken from at least 1")
    }
    makeAvailable(head)
  }
}
