internal import Virtio

/// Device addresses of a queue's three areas, as the registers hold them.
struct QueueAreas: Equatable {
  /// Descriptor table.
  var descriptors: UInt64 = 0
  /// Driver area: the available ring.
  var driver: UInt64 = 0
  /// Device area: the used ring.
  var device: UInt64 = 0

  /// The areas with their bytes and alignment for a ring of `size` entries (virtio 1.2, 2.7).
  func extents(size: Int) -> [(address: UInt64, byteCount: UInt64, alignment: UInt64)] {
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
}

extension SplitQueue {
  /// Takes over what the driver set up, once; later writes to the registers change nothing.
  ///
  /// - Returns: Nil, or the rule that the set-up breaks with the value seen; then the queue
  ///   stays as it was.
  mutating func enable(
    size: Int, areas: QueueAreas, vector: UInt16
  ) -> (reason: Violation.Reason, value: UInt64)? {
    guard SplitLayout.isLegal(size: size) else { return (.queueSizeInvalid, UInt64(size)) }
    var memory: [SharedMemory] = []
    let extents = areas.extents(size: size)
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
    descriptors = memory[0]
    available = memory[1]
    used = memory[2]
    self.areas = areas
    self.size = UInt16(size)
    mask = UInt16(size - 1)
    self.vector = vector
    ringsMapped = true
    return nil
  }

  /// Forgets translations; called with the locks of all queues held, after an unmap.
  mutating func forgetTranslations() {
    controlRun = .empty
    dataRun = .empty
    guard ringsMapped else { return }
    for area in areas.extents(size: Int(size)) {
      guard let run = pages.run(at: area.address), run.offset(area.address, area.byteCount) != nil
      else {
        ringsMapped = false
        return
      }
    }
  }
}
