import Synchronization

/// What can stand in an ``Inbox``. It brings the link, so that a push allocates nothing; while it
/// stands there, the link is the inbox's.
protocol InboxEntry: ~Copyable {
  var link: Place<Self>? { get set }
}

/// A list to which any thread pushes and from which one takes: by which a part goes to the loop
/// that carries it out, and a spread dio back home.
///
/// ```
/// pusher                                        taker
/// 1 entry's content, entry.link = head          1 exchange head with empty    acquire I
/// 2 compare-exchange head to entry  release I   2 entries, last pushed first
/// ```
/// An entry that was pushed is the taker's; the pusher touches neither it nor the inbox any more.
/// All are taken at once, so that an address that comes back does no harm.
final class Inbox<Entry: InboxEntry & ~Copyable>: Sendable {
  private let head = Atomic<UInt>(0)
  /// No entry's address.
  private var closed: UInt { 1 }

  /// Gives `entry` to the taker.
  ///
  /// - Returns: False where the inbox is closed; the entry is still the caller's.
  func push(_ entry: Place<Entry>) -> Bool {
    var seen = head.load(ordering: .relaxed)
    while seen != closed {
      entry.value.link = Place(bits: seen)
      let (exchanged, original) = head.weakCompareExchange(
        expected: seen, desired: entry.bits, successOrdering: .releasing,
        failureOrdering: .relaxed)
      if exchanged { return true }
      seen = original
    }
    return false
  }

  /// Whether there is nothing to take. Sequentially consistent: a taker that is about to sleep says
  /// so first, a pusher looks for sleepers afterwards.
  var isEmpty: Bool { head.load(ordering: .sequentiallyConsistent) <= closed }

  /// The entry pushed last, where the pushers stand still.
  var first: Place<Entry>? {
    let bits = head.load(ordering: .acquiring)
    return bits > closed ? Place(bits: bits) : nil
  }

  /// Takes all entries, linked in the order in which they were pushed.
  func takeAll() -> Place<Entry>? {
    guard head.load(ordering: .relaxed) > closed else { return nil }
    return inOrder(head.exchange(0, ordering: .acquiring))
  }

  /// Refuses all that is pushed from here on, and takes what has been.
  func close() -> Place<Entry>? {
    let last = head.exchange(closed, ordering: .acquiring)
    return last > closed ? inOrder(last) : nil
  }

  private func inOrder(_ bits: UInt) -> Place<Entry>? {
    var left = Place<Entry>(bits: bits)
    var first: Place<Entry>?
    while let entry = left {
      left = entry.value.link
      entry.value.link = first
      first = entry
    }
    return first
  }
}
