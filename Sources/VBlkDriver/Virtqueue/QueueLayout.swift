import Virtio

/// Where everything of a queue stands in its one block of DMA memory.
///
/// Beside the three areas of the ring, of either format, each slot has a ``RequestArea``, of 128
/// bytes, and, with INDIRECT_DESC, a table for chains that are not header, one segment, status.
///
/// Bytes of a queue of N entries: about (16 + 2 + 8 + 128) x N + 16 x (segments + 2) x slots.
struct QueueLayout: Equatable {
  private(set) var size: Int
  let isPacked: Bool
  let isIndirect: Bool
  /// Whether the device uses buffers in the order in which they were made available.
  let isInOrder: Bool
  /// Requests that can be in flight: N with INDIRECT_DESC, else a triple of descriptors each.
  private(set) var slotCount: Int
  /// Distance of two slots' heads: 3 where a head is a triple of a split ring, else 1.
  let headStride: Int
  /// Slots' heads, which are buffer ids of a packed ring, are below it.
  private(set) var headLimit: Int
  /// Data segments of one bio.
  private(set) var maxSegments: Int
  let descriptorsOffset: Int
  /// The available ring, or the driver event.
  let availOffset: Int
  /// The used ring, or the device event.
  let usedOffset: Int
  let requestsOffset: Int
  let tablesOffset: Int
  let tableStride: Int
  let byteCount: Int

  /// Whether a request's descriptors stand at the ring's next places, wherever its slot is; else a
  /// slot has its own.
  var isPositional: Bool { isPacked || isInOrder }

  /// What the device may say a request by is below it.
  var nameLimit: Int { isPacked ? headLimit : size }

  /// - Returns: nil where the ring is too small for one request of header, data and status.
  init?(
    size: Int, isPacked: Bool, isIndirect: Bool, isInOrder: Bool = false, maxSegments wanted: Int
  ) {
    guard Self.isLegal(size: size, isPacked: isPacked), isIndirect || size >= 3 else { return nil }
    self.size = size
    self.isPacked = isPacked
    self.isIndirect = isIndirect
    self.isInOrder = isInOrder
    let isPositional = isPacked || isInOrder
    headStride = isPositional || isIndirect ? 1 : 3
    slotCount = isIndirect ? size : size / 3
    headLimit = isPositional ? slotCount : size
    if isIndirect {
      // A table may be as long as the ring by the letter (virtio 1.2, 2.7.5.3.1); on rings too
      // small for that, three entries, which every device takes, are the least that works.
      let room = max(1, size - 2)
      let cap = max(
        Limits.fewestSegmentsPerBio, Limits.tableBytesPerQueue / (16 * slotCount) - 2)
      maxSegments = max(1, min(wanted, room, cap))
    } else {
      maxSegments = max(1, min(wanted, 1 + 3 * (slotCount - 1)))
    }
    func aligned(_ offset: Int) -> Int { (offset + 63) & ~63 }
    descriptorsOffset = 0
    availOffset = aligned(SplitLayout.descriptorByteCount(size: size))
    let availBytes =
      isPacked ? PackedLayout.eventByteCount : SplitLayout.availableByteCount(size: size)
    usedOffset = aligned(availOffset + availBytes)
    let usedBytes = isPacked ? PackedLayout.eventByteCount : SplitLayout.usedByteCount(size: size)
    requestsOffset = aligned(usedOffset + usedBytes)
    tablesOffset = aligned(requestsOffset + RequestArea.stride * size)
    tableStride = isIndirect ? aligned(16 * (maxSegments + 2)) : 0
    byteCount = tablesOffset + tableStride * size
  }

  /// The same memory with a ring of `size` entries; nil where that is larger, or no size.
  func resized(to size: Int) -> QueueLayout? {
    guard size <= self.size,
      let other = QueueLayout(
        size: size, isPacked: isPacked, isIndirect: isIndirect, isInOrder: isInOrder,
        maxSegments: maxSegments)
    else { return nil }
    var layout = self
    layout.size = size
    layout.slotCount = other.slotCount
    layout.headLimit = other.headLimit
    layout.maxSegments = other.maxSegments
    return layout
  }

  /// Whether a ring of the format may have `size` entries.
  static func isLegal(size: Int, isPacked: Bool) -> Bool {
    isPacked ? PackedLayout.isLegal(size: size) : SplitLayout.isLegal(size: size)
  }
}
