internal import Glibc

/// The translated data segments of a request, in the kernel's own form, so that a chain goes to
/// preadv(2) as it is.
///
/// Invariant: every segment came out of the emulated IOMMU under the present hold of the queue's
/// lock, and is used under that hold only.
@safe
struct HostSegments {
  private(set) var list: [iovec] = unsafe []

  var count: Int { unsafe list.count }

  /// The first byte of the first segment.
  var first: UnsafeMutableRawPointer? { unsafe list.first?.iov_base }

  mutating func removeAll() { unsafe list.removeAll(keepingCapacity: true) }

  mutating func append(_ memory: UnsafeMutableRawPointer, _ count: Int) {
    unsafe list.append(iovec(iov_base: memory, iov_len: count))
  }

  /// Calls `body` with each segment from `first` on until it returns something other than 0.
  func forEach(
    in range: Range<Int>, _ body: (UnsafeMutableRawPointer, Int) -> CInt
  ) -> CInt {
    for index in range {
      guard let base = unsafe list[index].iov_base else { continue }
      let error = unsafe body(base, Int(list[index].iov_len))
      if error != 0 { return error }
    }
    return 0
  }
}
