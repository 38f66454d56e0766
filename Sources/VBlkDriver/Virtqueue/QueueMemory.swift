import DMAPool
import Synchronization
import Virtio

/// A queue's memory: its ring and request areas (DMA) and its private records. It belongs to the
/// device, which outlives every queue; a ``Queue`` holds handles into it.
final class QueueMemory: @unchecked Sendable {
  // One thread at a time: the owner of the Queue, or the device while no Queue is handed out or
  // its owner has swept it.
  let index: Int
  /// As it was made; what has a place for each slot has as many as this.
  let largest: QueueLayout
  private(set) var layout: QueueLayout
  /// All of the DMA block.
  private let shared: SharedRun
  /// One of the two is in use, as `layout.isPacked` says; the other one's pointers mean nothing.
  private(set) var ring: SplitRing
  /// As it is at first; a queue has its own.
  private(set) var packed: PackedRing
  let requests: RequestAreas
  let records: Table<BioRecord>
  let dios: Table<DioRecord>
  let details: Table<BounceDetail>
  let kept: Table<KeptCompletion>
  /// Stalled dios in order of submission.
  let stalled: Table<UInt32>
  let scratch: Table<DeviceSegment>
  /// What became available in which order; used with IN_ORDER.
  let order: RequestOrder
  private let orderEntries: Table<UInt32>
  // The queue's thread alone takes and gives, and runs nothing of anybody's in between.
  @exclusivity(unchecked) var bounce: BouncePool
  /// The epoch in which the device was last given this queue.
  let enabledEpoch = Atomic<UInt32>(0)
  private(set) var doorbell: Doorbell?
  private let block: BlockReference

  /// What a queue carries over when it is closed with nothing in flight and handed out again.
  var saved = SavedIndexes()

  struct SavedIndexes {
    var avail: UInt16 = 0
    var used: UInt16 = 0
    var packed = PackedRing.Position()
    /// Of a split ring with IN_ORDER: the next descriptor.
    var place: UInt16 = 0
  }

  init(
    index: Int, layout: QueueLayout, arena: DMAArena, bounceBlocks: Int, blockSize: Int
  ) throws(VBlkError) {
    self.index = index
    largest = layout
    self.layout = layout
    do {
      unsafe bounce = try BouncePool(
        count: bounceBlocks, blockByteCount: max(Limits.bounceBlockBytes, blockSize),
        from: arena)
      block = try arena.allocate(byteCount: layout.byteCount, alignment: 4096).intoReference()
    } catch {
      throw VBlkError(error)
    }
    shared = SharedRun(block)
    shared.zero(byteCount: layout.byteCount)
    let ring = SplitRing(shared, layout: layout)
    let requests = RequestAreas(
      shared.advanced(by: layout.requestsOffset), count: layout.size)
    self.ring = ring
    packed = PackedRing(shared, layout: layout)
    self.requests = requests
    precondition(MemoryLayout<BioRecord>.stride == 64, "a slot's record must be one cache line")
    records = Table(count: layout.size) { id in
      // An id that is no head never gets a request; it shares the last descriptor at the most.
      let data = min(Int(id) + 1, layout.size - 1)
      // Direct at the ring's next places, the data has no place of its own, and this is not used.
      return BioRecord(
        data: layout.isIndirect || layout.isPositional
          ? requests[id].table.data(at: 1) : ring.descriptors.data(at: data))
    }
    let dioCount = layout.slotCount + 1
    dios = Table(count: dioCount) { _ in DioRecord(next: BioRecord.none) }
    details = Table(count: layout.size) { _ in BounceDetail() }
    kept = Table(count: dioCount) { _ in
      KeptCompletion(tag: 0, result: IOResult(success: 0), source: .none)
    }
    stalled = Table(count: dioCount) { _ in BioRecord.none }
    orderEntries = Table(count: RequestOrder.entryCount(layout)) { _ in 0 }
    order = RequestOrder(orderEntries)
    scratch = Table(count: layout.maxSegments) { _ in DeviceSegment(address: 0, byteCount: 0) }
  }

  deinit {
    doorbell?.release()
    records.free()
    dios.free()
    details.free()
    kept.free()
    stalled.free()
    scratch.free()
    orderEntries.free()
    _ = DMABuffer(block)
  }

  var addresses: RingAddresses {
    RingAddresses(
      descriptors: shared.deviceAddress + UInt64(layout.descriptorsOffset),
      driver: shared.deviceAddress + UInt64(layout.availOffset),
      device: shared.deviceAddress + UInt64(layout.usedOffset))
  }

  /// The slot's table for chains that are not plain, used with INDIRECT_DESC.
  func longTable(_ head: UInt32) -> DescriptorTable {
    DescriptorTable(
      shared.advanced(by: layout.tablesOffset + layout.tableStride * Int(head)),
      count: layout.maxSegments + 2)
  }

  /// The layout for a depth that is asked for, nil for the one there is; nil where it can't be.
  func layout(forDepth depth: Int?) -> QueueLayout? {
    guard let depth else { return layout }
    guard depth >= 1, depth <= largest.slotCount else { return nil }
    let wanted = layout.isIndirect ? depth : depth * 3
    var size = layout.isPacked ? wanted : 1
    while size < wanted { size *= 2 }
    return largest.resized(to: min(size, largest.size))
  }

  /// Makes the ring another size, in its place; while the device does not have it.
  func resize(to layout: QueueLayout) {
    self.layout = layout
    ring = SplitRing(shared, layout: layout)
    packed = PackedRing(shared, layout: layout)
  }

  /// Takes the doorbell that the device named when it was given the queue.
  func install(_ doorbell: Doorbell) {
    self.doorbell?.release()
    self.doorbell = doorbell
  }

  /// Takes a bounce block; nil where none is free.
  func takeBounceBlock() -> BlockReference? {
    guard let block = unsafe bounce.take() else { return nil }
    return unsafe BlockReference(block)
  }

  func giveBounceBlock(_ reference: BlockReference) { unsafe bounce.give(reference.block) }

  /// Zeroes the ring and writes what stays the same from request to request; before the device is
  /// given the queue.
  func prepare() {
    shared.zero(byteCount: layout.requestsOffset)
    saved = SavedIndexes()
    for slot in 0..<layout.slotCount { prewrite(UInt32(slot * layout.headStride)) }
  }
}
