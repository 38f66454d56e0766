import Synchronization

/// The device's table of locked blocks: read-modify-writes exclude each other across its queues.
///
/// A bucket stands for all blocks with the same remainder, so two blocks may wait for each other
/// for no reason, but never wrongly not. Locks are tried, never waited for.
final class BlockLocks: Sendable {
  private static let bucketCount: UInt64 = 256
  private let buckets: [Bucket]

  private final class Bucket: Sendable {
    let isLocked = Atomic<Bool>(false)
  }

  init() { buckets = (0..<Int(Self.bucketCount)).map { _ in Bucket() } }

  private func bucket(_ block: UInt64) -> Bucket { buckets[Int(block % Self.bucketCount)] }

  /// Locks both blocks, or neither. The lower bucket is asked for first: two that try again and
  /// again
  /// would else refuse each other for ever, each with one of the other's in hand.
  func tryLock(_ blocks: BlockPair) -> Bool {
    let first = blocks.first % Self.bucketCount
    let last = blocks.last % Self.bucketCount
    let lower = bucket(min(first, last))
    guard take(lower) else { return false }
    guard first != last, !take(bucket(max(first, last))) else { return true }
    lower.isLocked.store(false, ordering: .releasing)
    return false
  }

  func unlock(_ blocks: BlockPair) {
    bucket(blocks.first).isLocked.store(false, ordering: .releasing)
    if !sameBucket(blocks) { bucket(blocks.last).isLocked.store(false, ordering: .releasing) }
  }

  private func sameBucket(_ blocks: BlockPair) -> Bool {
    blocks.first % Self.bucketCount == blocks.last % Self.bucketCount
  }

  private func take(_ bucket: Bucket) -> Bool {
    bucket.isLocked.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
  }
}

/// The one or two blocks that a write covers in part.
struct BlockPair: Equatable {
  let first: UInt64
  let last: UInt64
}
