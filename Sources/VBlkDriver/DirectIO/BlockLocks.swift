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

  /// Locks both blocks, or neither.
  func tryLock(_ blocks: BlockPair) -> Bool {
    guard take(bucket(blocks.first)) else { return false }
    guard !sameBucket(blocks), !take(bucket(blocks.last)) else { return true }
    bucket(blocks.first).isLocked.store(false, ordering: .releasing)
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
