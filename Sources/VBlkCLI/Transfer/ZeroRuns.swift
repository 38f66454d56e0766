internal import Glibc

/// Tells zeroes from data in a chunk, so that what is sparse stays sparse.
enum ZeroRuns {
  /// Runs are looked for in pieces of a page: what file systems give back.
  static let granuleByteCount = 4096

  /// How far the run goes that starts at `start`, and whether it's all zeroes.
  ///
  /// - Parameters:
  ///   - bytes: The chunk.
  ///   - start: A multiple of the granule, inside the chunk.
  ///   - granule: Where a run may end; the chunk's end is one too.
  /// - Returns: The run's end, and whether it's all zeroes.
  static func run(
    in bytes: UnsafeRawBufferPointer, from start: Int, granule: Int
  ) -> (end: Int, isZero: Bool) {
    precondition(start < bytes.count, "a run starts inside its chunk")
    let isZero = unsafe isZero(bytes, from: start, granule: granule)
    var end = start + granule
    while end < bytes.count {
      guard unsafe self.isZero(bytes, from: end, granule: granule) == isZero else { break }
      end += granule
    }
    return (min(end, bytes.count), isZero)
  }

  private static func isZero(
    _ bytes: UnsafeRawBufferPointer, from start: Int, granule: Int
  ) -> Bool {
    let count = min(granule, bytes.count - start)
    guard let base = bytes.baseAddress else { return true }
    let first = unsafe base + start
    // A granule is zeroes if it starts with one and equals itself a byte on.
    return unsafe first.load(as: UInt8.self) == 0 && memcmp(first, first + 1, count - 1) == 0
  }
}
