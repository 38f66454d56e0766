import DMAPool
import Synchronization
import Virtio

/// A queue's memory: its ring and request areas (DMA) and its private records. It belongs to the
/// device, which outlives every queue; a ``Queue`` holds raw pointers into it.
final class QueueMemory: @unchecked Sendable {
  // One thread at a time: the owner of the Queue, or the device while no Queue is handed out or
  // its owner has swept it.
  let index: Int
  let layout: QueueLayout
  let ring: SplitRing
  /// First byte of the DMA block and its device address.
  let base: UnsafeMutableRawPointer
  let deviceBase: UInt64
  let records: UnsafeMutablePointer<BioRecord>
  let dios: UnsafeMutablePointer<DioRecord>
  let dioCount: Int
  let details: UnsafeMutablePointer<BounceDetail>
  let kept: UnsafeMutablePointer<KeptCompletion>
  /// Stalled dios in order of submission.
  let stalled: UnsafeMutablePointer<UInt32>
  let scratch: UnsafeMutablePointer<DeviceSegment>
  let bounce: UnsafeMutablePointer<BouncePool>
  /// The epoch in which the device was last given this queue.
  let enabledEpoch = Atomic<UInt32>(0)
  private(set) var doorbell: Doorbell?
  private let block: UnsafeMutablePointer<DMABlock>

  /// What a queue carries over when it is closed with nothing in flight and handed out again.
  var saved = SavedIndexes()

  struct SavedIndexes {
    var avail: UInt16 = 0
    var used: UInt16 = 0
  }

  init(
    index: Int, layout: QueueLayout, arena: DMAArena, bounceBlocks: Int, blockSize: Int
  ) throws(VBlkError) {
    self.index = index
    self.layout = layout
    do {
      bounce = .allocate(capacity: 1)
      bounce.initialize(
        to: try BouncePool(
          count: bounceBlocks, blockByteCount: max(Limits.bounceBlockBytes, blockSize),
          from: arena))
      var buffer = try arena.allocate(byteCount: layout.byteCount, alignment: 4096)
      _ = buffer.withUnsafeMutableBytes { $0.initializeMemory(as: UInt8.self, repeating: 0) }
      block = buffer.intoBlock()
    } catch {
      throw VBlkError(error)
    }
    precondition(
      block.pointee.plainArena != 0, "ring memory must be one run for the device")
    base = block.pointee.base
    deviceBase = block.pointee.deviceAddress
    ring = SplitRing(memory: base, layout: layout)
    dioCount = layout.slotCount + 1
    records = Self.aligned(layout.size)
    dios = .allocate(capacity: dioCount)
    details = .allocate(capacity: layout.size)
    details.initialize(repeating: BounceDetail(), count: layout.size)
    kept = .allocate(capacity: dioCount)
    stalled = .allocate(capacity: dioCount)
    scratch = .allocate(capacity: layout.maxSegments)
    for id in 0..<layout.size {
      let head = UInt32(id)
      (records + id).initialize(to: BioRecord(data: dataDescriptor(head), next: BioRecord.none))
    }
    for dio in 0..<dioCount {
      let next = dio + 1 < dioCount ? UInt32(dio + 1) : BioRecord.none
      (dios + dio).initialize(to: DioRecord(next: next))
    }
  }

  deinit {
    doorbell?.release()
    records.deinitialize(count: layout.size)
    records.deallocate()
    dios.deinitialize(count: dioCount)
    dios.deallocate()
    details.deallocate()
    kept.deallocate()
    stalled.deallocate()
    scratch.deallocate()
    bounce.deinitialize(count: 1)
    bounce.deallocate()
    _ = DMABuffer(block: block)
  }

  /// Records on cache lines of their own.
  private static func aligned(_ count: Int) -> UnsafeMutablePointer<BioRecord> {
    precondition(MemoryLayout<BioRecord>.stride == 64, "a slot's record must be one cache line")
    return UnsafeMutableRawPointer.allocate(byteCount: 64 * count, alignment: 64)
      .bindMemory(to: BioRecord.self, capacity: count)
  }

  var addresses: RingAddresses {
    RingAddresses(
      descriptors: deviceBase + UInt64(layout.descriptorsOffset),
      driver: deviceBase + UInt64(layout.availOffset),
      device: deviceBase + UInt64(layout.usedOffset))
  }

  /// Takes the doorbell that the device named when it was given the queue.
  func install(_ doorbell: Doorbell) {
    self.doorbell?.release()
    self.doorbell = doorbell
  }

  /// Zeroes the ring and writes what stays the same from request to request; before the device is
  /// given the queue.
  func prepare() {
    (base + layout.descriptorsOffset).initializeMemory(
      as: UInt8.self, repeating: 0, count: layout.requestsOffset)
    saved = SavedIndexes()
    for slot in 0..<layout.slotCount { prewrite(UInt32(slot * layout.headStride)) }
  }
}
