import Synchronization

/// Which pages registered memory keeps locked and out of children.
///
/// The kernel counts neither: one munlock undoes two mlocks. So where two registrations share a
/// page, it is let go with the last of them.
final class LockedPages: Sendable {
  /// The process's pages.
  static let shared = LockedPages()

  /// What is held, each registration's ranges apart.
  private let held = Mutex<[Range<UInt>]>([])

  /// Keeps pages out of children and locks them.
  ///
  /// - Parameter ranges: Addresses in whole pages, each inside one mapping.
  /// - Returns: Whether all are locked; false where the system forbids it (RLIMIT_MEMLOCK).
  /// - Throws: ``SystemError`` if they can't be kept out of children; then nothing is held.
  func hold(_ ranges: [Range<UInt>]) throws(SystemError) -> Bool {
    try held.withLock { (held) throws(SystemError) in
      var isLocked = true
      for (index, range) in ranges.enumerated() {
        do throws(SystemError) {
          try unsafe HostMemory.setInherited(false, range.start, byteCount: range.count)
        } catch {
          LockedPages.release(ranges[..<index], exceptFor: held)
          throw error
        }
        isLocked =
          unsafe (try? HostMemory.lock(range.start, byteCount: range.count)) != nil && isLocked
      }
      held += ranges
      return isLocked
    }
  }

  /// Lets go what ``hold(_:)`` took, except for pages that others hold too.
  func letGo(_ ranges: [Range<UInt>]) {
    held.withLock { held in
      for range in ranges {
        guard let index = held.firstIndex(of: range) else {
          preconditionFailure("pages \(range) are let go, but nobody holds them")
        }
        held.remove(at: index)
      }
      LockedPages.release(ranges[...], exceptFor: held)
    }
  }

  /// Unlocks what nobody else holds. Errors mean that the user has unmapped it already.
  private static func release(_ ranges: ArraySlice<Range<UInt>>, exceptFor held: [Range<UInt>]) {
    for range in ranges {
      for part in range.subtracting(held) {
        try? unsafe HostMemory.unlock(part.start, byteCount: part.count)
        try? unsafe HostMemory.setInherited(true, part.start, byteCount: part.count)
      }
    }
  }
}

extension Range<UInt> {
  /// What is left of the range without the others, by address.
  func subtracting(_ others: [Range<UInt>]) -> [Range<UInt>] {
    var left: [Range<UInt>] = []
    var low = lowerBound
    for other in others.sorted(by: { $0.lowerBound < $1.lowerBound }) where other.overlaps(self) {
      if other.lowerBound > low { left.append(low..<other.lowerBound) }
      low = Swift.max(low, other.upperBound)
    }
    if low < upperBound { left.append(low..<upperBound) }
    return left
  }

  /// The first address as a pointer.
  fileprivate var start: UnsafeMutableRawPointer? {
    unsafe UnsafeMutableRawPointer(bitPattern: lowerBound)
  }
}
