/// Which bytes of an arena are free: extents by offset, first fit, joined when they touch.
///
/// Invariants
/// 1. Extents rise, none is empty, and between two of them at least one byte is in use.
/// 2. Offsets and sizes are multiples of ``Limits/granule``.
struct FreeList: Equatable {
  /// Free extents, by offset.
  private(set) var extents: [Range<Int>]
  /// Free bytes.
  private(set) var byteCount: Int

  /// All of `byteCount` bytes are free.
  init(byteCount: Int) {
    extents = byteCount > 0 ? [0..<byteCount] : []
    self.byteCount = byteCount
  }

  /// The longest free extent in bytes.
  var longest: Int { extents.map(\.count).max() ?? 0 }

  /// Takes the first `count` bytes that fit.
  ///
  /// - Parameters:
  ///   - count: Bytes, more than 0.
  ///   - alignment: What the offset must be a multiple of; a power of two.
  ///   - boundary: A power of two whose multiples must not lie inside; nil for none.
  /// - Returns: The offset, or nil if nothing fits.
  mutating func take(_ count: Int, alignment: Int, within boundary: Int? = nil) -> Int? {
    for (index, extent) in extents.enumerated() {
      var start = roundedUp(extent.lowerBound, to: alignment)
      if let boundary, start & (boundary - 1) + count > boundary {
        start = roundedUp(start, to: max(boundary, alignment))
      }
      guard start + count <= extent.upperBound else { continue }
      let rest = [extent.lowerBound..<start, start + count..<extent.upperBound]
      extents.replaceSubrange(index...index, with: rest.filter { !$0.isEmpty })
      byteCount -= count
      return start
    }
    return nil
  }

  /// Gives bytes back; they must be in use.
  mutating func give(_ extent: Range<Int>) {
    let index = firstIndex(notBelow: extent.lowerBound)
    let before = index > 0 ? extents[index - 1] : nil
    let after = index < extents.count ? extents[index] : nil
    precondition(
      (before?.upperBound ?? 0) <= extent.lowerBound
        && extent.upperBound <= (after?.lowerBound ?? .max),
      "bytes \(extent) of an arena are freed, but partly free already")
    var joined = extent
    var replaced = index..<index
    if let before, before.upperBound == extent.lowerBound {
      joined = before.lowerBound..<joined.upperBound
      replaced = index - 1..<index
    }
    if let after, after.lowerBound == extent.upperBound {
      joined = joined.lowerBound..<after.upperBound
      replaced = replaced.lowerBound..<index + 1
    }
    extents.replaceSubrange(replaced, with: CollectionOfOne(joined))
    byteCount += extent.count
  }

  /// The first extent that begins at `offset` or above.
  private func firstIndex(notBelow offset: Int) -> Int {
    var low = 0
    var high = extents.count
    while low < high {
      let middle = (low + high) / 2
      if extents[middle].lowerBound < offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
