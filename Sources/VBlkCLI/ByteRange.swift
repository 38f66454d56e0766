internal import VBlk

/// The bytes of a device that a command works on.
struct ByteRange: Equatable {
  let offset: UInt64
  let byteCount: UInt64

  /// The range that `--offset` and `--length` name on a device; no length means up to the end.
  init(
    offset: UInt64, length: UInt64?, capacity: UInt64, device: String
  ) throws(Failure) {
    guard offset <= capacity else {
      throw Failure(
        .usage, "offset \(offset) is beyond the end of \(device)",
        allowed: "it has \(capacity) bytes", remedy: "give an --offset up to \(capacity)")
    }
    let byteCount = length ?? (capacity - offset)
    guard byteCount <= capacity - offset else {
      throw Failure(
        .usage, "\(byteCount) bytes at offset \(offset) reach beyond the end of \(device)",
        allowed: "it has \(capacity) bytes, \(capacity - offset) of them from there",
        remedy: "give a --length up to \(capacity - offset)")
    }
    self.offset = offset
    self.byteCount = byteCount
  }

  /// The same range, refused unless it's whole blocks: discard and its like know nothing smaller.
  func inWholeBlocks(of blockByteCount: UInt64, device: String) throws(Failure) -> ByteRange {
    guard offset.isMultiple(of: blockByteCount), byteCount.isMultiple(of: blockByteCount) else {
      let start = offset / blockByteCount * blockByteCount
      let end = (offset + byteCount) / blockByteCount * blockByteCount
      throw Failure(
        .usage, "\(byteCount) bytes at offset \(offset) are no whole blocks of \(device)",
        allowed: "its blocks have \(blockByteCount) bytes",
        remedy: "the nearest range is --offset \(start) --length \(end > start ? end - start : 0)")
    }
    return self
  }
}
