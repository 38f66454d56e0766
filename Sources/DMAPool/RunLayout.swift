/// How an arena's device addresses lie, where they can be chosen (a translating mapper).
///
/// Physical addresses are what they are, whatever the layout.
public enum RunLayout: Sendable, Equatable {
  /// The arena is one run.
  case contiguous
  /// Each run of `runByteCount` bytes (a power of two, 4096 or more) has a device address of its
  /// own, next to no other, in an order that `seed` decides. It shows a device what scattered
  /// physical memory shows it.
  case scattered(runByteCount: Int, seed: UInt64)
}
