internal import Virtio

/// Device addresses of a queue's three areas, as the registers hold them.
struct QueueAreas: Equatable {
  /// Descriptor table or ring.
  var descriptors: UInt64 = 0
  /// Driver area: the available ring, or the driver's event suppression.
  var driver: UInt64 = 0
  /// Device area: the used ring, or the device's event suppression.
  var device: UInt64 = 0

  /// An area with its bytes and alignment.
  typealias Extent = (address: UInt64, byteCount: UInt64, alignment: UInt64)

  /// The areas of a ring of `size` entries (virtio 1.2, 2.7 and 2.8.10.1).
  func extents(size: Int, packed: Bool) -> [Extent] {
    packed ? packedExtents(size: size) : splitExtents(size: size)
  }

  private func splitExtents(size: Int) -> [Extent] {
    [
      (
        descriptors, UInt64(SplitLayout.descriptorByteCount(size: size)),
        UInt64(SplitLayout.descriptorAlignment)
      ),
      (
        driver, UInt64(SplitLayout.availableByteCount(size: size)),
        UInt64(SplitLayout.availableAlignment)
      ),
      (device, UInt64(SplitLayout.usedByteCount(size: size)), UInt64(SplitLayout.usedAlignment)),
    ]
  }

  private func packedExtents(size: Int) -> [Extent] {
    let event = UInt64(PackedLayout.eventByteCount)
    return [
      (
        descriptors, UInt64(PackedLayout.descriptorByteCount(size: size)),
        UInt64(PackedLayout.descriptorAlignment)
      ),
      (driver, event, event), (device, event, event),
    ]
  }

  /// Whether a ring of that format may have `size` entries.
  static func isLegal(size: Int, packed: Bool) -> Bool {
    packed ? PackedLayout.isLegal(size: size) : SplitLayout.isLegal(size: size)
  }
}

extension DeviceQueue {
  /// Takes over what the driver set up, once; later writes to the registers change nothing.
  ///
  /// - Returns: Nil, or the rule that the set-up breaks with the value seen; then the queue
  ///   stays as it was.
  mutating func enable(
    size: Int, packed: Bool, areas: QueueAreas, vector: UInt16
  ) -> (reason: Violation.Reason, value: UInt64)? {
    guard QueueAreas.isLegal(size: size, packed: packed) else {
      return (.queueSizeInvalid, UInt64(size))
    }
    var memory: [SharedMemory] = []
    let extents = areas.extents(size: size, packed: packed)
    for (index, area) in extents.enumerated() {
      guard area.address % area.alignment == 0 else { return (.areaMisaligned, area.address) }
      for other in extents[..<index]
      where area.address < other.address &+ other.byteCount
        && other.address < area.address &+ area.byteCount
      {
        return (.areasOverlap, area.address)
      }
      guard let run = pages.run(at: area.address),
        let offset = run.offset(area.address, area.byteCount)
      else { return (.areaUnmapped, area.address) }
      memory.append(run.memory.advanced(by: offset))
    }
    watchAreas(memory, extents, packed: packed)
    setRing(memory, size: size, packed: packed)
    self.areas = areas
    self.size = UInt16(size)
    self.vector = vector
    ringsMapped = true
    return nil
  }

  /// Forgets translations; called with the locks of all queues held, after an unmap.
  mutating func forgetTranslations() {
    controlRun = .empty
    dataRun = .empty
    guard ringsMapped else { return }
    for area in areas.extents(size: Int(size), packed: isPacked) {
      guard let run = pages.run(at: area.address), run.offset(area.address, area.byteCount) != nil
      else {
        ringsMapped = false
        return
      }
    }
  }
}
