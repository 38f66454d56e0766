import Synchronization

/// Which device addresses are taken, for all devices of the process, so that one piece of memory
/// can have the same address in each.
///
/// Invariants
/// 1. An address given out is a multiple of the alignment asked for, and is never 0.
/// 2. Of two windows given out neither touches the other or its guard, while both are taken.
/// 3. Addresses rise until there is no room above (next fit), so one that was freed is not soon
///    used again: a stale address meets a fault, not somebody's data.
final class DeviceAddressSpace: Sendable {
  /// The one that all memory of the process uses.
  static let shared = DeviceAddressSpace()

  private struct State {
    /// Taken windows, by first address. Physical windows may overlap others.
    var taken: [ClosedRange<UInt64>] = []
    /// Where the search begins.
    var cursor = Limits.deviceAlignment

    mutating func insert(_ window: ClosedRange<UInt64>) {
      let index = taken.firstIndex { $0.lowerBound > window.lowerBound } ?? taken.count
      taken.insert(window, at: index)
    }
  }

  private let state = Mutex(State())

  /// Takes a window.
  ///
  /// - Parameters:
  ///   - byteCount: Its size in bytes, more than 0.
  ///   - ranges: Where it may be.
  ///   - alignment: What its first address must be a multiple of; a power of two.
  ///   - avoided: Addresses that it must not touch.
  /// - Returns: The window, or nil if nothing fits.
  func take(
    byteCount: UInt64, in ranges: [ClosedRange<UInt64>], alignment: UInt64,
    avoiding avoided: ClosedRange<UInt64>
  ) -> ClosedRange<UInt64>? {
    state.withLock { state in
      let alignment = max(alignment, Limits.deviceAlignment)
      let ranges = ranges.sorted { $0.lowerBound < $1.lowerBound }
      for start in [state.cursor, Limits.deviceAlignment] {
        for range in ranges {
          let obstacles = state.taken + [avoided]
          guard
            let window = DeviceAddressSpace.firstFit(
              byteCount, from: max(start, range.lowerBound), through: range.upperBound,
              alignment: alignment, obstacles: obstacles)
          else { continue }
          state.insert(window)
          let (next, overflow) = window.upperBound.addingReportingOverflow(Limits.deviceGuard)
          state.cursor = overflow ? Limits.deviceAlignment : next
          return window
        }
      }
      return nil
    }
  }

  /// Takes a window that the hardware has chosen, whatever is there.
  func take(physical window: ClosedRange<UInt64>) {
    state.withLock { $0.insert(window) }
  }

  /// Gives back a window taken before.
  func free(_ window: ClosedRange<UInt64>) {
    state.withLock { state in
      guard let index = state.taken.firstIndex(of: window) else {
        preconditionFailure("device addresses \(window) are freed, but not taken")
      }
      state.taken.remove(at: index)
    }
  }

  /// The lowest aligned window between `low` and `high` that keeps clear of `obstacles` and their
  /// guards.
  private static func firstFit(
    _ byteCount: UInt64, from low: UInt64, through high: UInt64, alignment: UInt64,
    obstacles: [ClosedRange<UInt64>]
  ) -> ClosedRange<UInt64>? {
    var low = low
    while true {
      let (padded, overflow) = low.addingReportingOverflow(alignment - 1)
      let first = padded & ~(alignment - 1)
      guard !overflow, first <= high, high - first >= byteCount - 1 else { return nil }
      let window = first...first + (byteCount - 1)
      guard let obstacle = obstacles.first(where: { $0.isWithinGuard(of: window) }) else {
        return window
      }
      let (next, isLast) = obstacle.upperBound.addingReportingOverflow(Limits.deviceGuard + 1)
      if isLast { return nil }
      low = max(next, first + 1)
    }
  }
}

extension ClosedRange<UInt64> {
  /// Whether fewer than ``Limits/deviceGuard`` bytes lie between the two.
  fileprivate func isWithinGuard(of other: ClosedRange<UInt64>) -> Bool {
    let gap = Limits.deviceGuard
    if other.lowerBound > upperBound { return other.lowerBound - upperBound <= gap }
    if lowerBound > other.upperBound { return lowerBound - other.upperBound <= gap }
    return true
  }
}
