/// A queue that the explorer of interleavings drives a step at a time: that of a group's home, or
/// of a loop.
package protocol SteppedMember: AnyObject {
  /// Lends the queue to `body`.
  func withQueue<Result>(_ body: (inout Queue) -> Result) -> Result
  /// Nothing is in flight, waits, or was brought.
  var isIdle: Bool { get }
  /// What is wrong with its books, or nil.
  func brokenInvariant() -> String?
}

extension SteppedMember {
  // MARK: - Steps

  /// Shows the device what was begun.
  package func kick() { withQueue { $0.kick() } }

  /// Reaps one used entry; a part may end by it.
  package func reapOne() -> Bool { withQueue { $0.stepReap() } }

  /// Follows a reset or a restart.
  package func follow() { withQueue { $0.stepFollow() } }

  // MARK: - What can be done

  package var hasUnpublished: Bool { withQueue { $0.hasUnpublished } }
  package var isRunning: Bool { withQueue { $0.isRunning } }
  package var mustFollow: Bool { withQueue { $0.mustFollow } }
  package var keptCount: Int { withQueue { $0.keptCount } }
  package var hasStalled: Bool { withQueue { $0.hasStalled } }
  package var freeSlots: Int { withQueue { $0.freeCount } }
  package var reapedIndex: UInt16 { withQueue { $0.reapedIndex } }
  package var inFlightTags: InFlightTags { withQueue { $0.inFlightTags } }
  package var rings: UInt64 { withQueue { $0.rings } }

  // MARK: - Oracles

  package func restartPolls() { withQueue { $0.restartPolls() } }
  package func touchedPoison() -> String? { withQueue { $0.touchedPoison() } }
  package func poison() { withQueue { $0.poison() } }
}
