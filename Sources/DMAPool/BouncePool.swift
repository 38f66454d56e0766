/// A fixed number of equal blocks of DMA memory, for transfers whose own memory won't do.
///
/// It takes all its memory from an arena when it is made, and gives it back when it dies. Taking
/// and giving neither lock nor allocate, so one thread at a time may use it. A pool that dies with
/// blocks out gives nothing back: a device may still write them, so their memory stays in use.
///
/// Invariants
/// 1. `vacant` blocks are free, and `free[0 ..< vacant]` are their indexes, each once.
/// 2. `isOut[i]` exactly when block i is not free.
@safe
public struct BouncePool: ~Copyable {
  /// Blocks in all.
  public let count: Int
  /// Bytes of a block.
  public let blockByteCount: Int
  /// Blocks that can be taken.
  @inlinable public var freeCount: Int { vacant }

  @usableFromInline var vacant: Int
  @usableFromInline let records: UnsafeMutablePointer<DMABlock>
  @usableFromInline let free: UnsafeMutablePointer<Int>
  @usableFromInline let isOut: UnsafeMutablePointer<Bool>
  /// The memory behind all blocks.
  private let memory: UnsafeMutablePointer<DMABlock>
  private let owner: BounceBlockOwner

  /// Takes the memory.
  ///
  /// - Parameters:
  ///   - count: Blocks, at least 1.
  ///   - blockByteCount: Bytes of a block, a multiple of 512.
  ///   - arena: Where the memory comes from; attached to the device.
  /// - Throws: ``DMAError``: `.invalidArgument`, or what ``DMAArena`` throws when it allocates.
  public init(count: Int, blockByteCount: Int, from arena: DMAArena) throws(DMAError) {
    let (byteCount, overflow) = count.multipliedReportingOverflow(by: blockByteCount)
    guard count > 0, blockByteCount > 0, blockByteCount % Limits.sectorByteCount == 0, !overflow
    else {
      throw DMAError(
        .invalidArgument, "a bounce pool of \(count) blocks of \(blockByteCount) bytes",
        remedy: "ask for at least one block, of a multiple of \(Limits.sectorByteCount) bytes")
    }
    let buffer = try arena.allocate(byteCount: byteCount, zeroed: false)
    owner = BounceBlockOwner()
    unsafe memory = buffer.intoBlock()
    unsafe records = .allocate(capacity: count)
    unsafe free = .allocate(capacity: count)
    unsafe isOut = .allocate(capacity: count)
    for index in 0..<count {
      unsafe (records + index).initialize(
        to: memory.pointee.part(
          at: index * blockByteCount, byteCount: blockByteCount,
          owner: .passUnretained(owner)))
      // The lowest block is taken first.
      unsafe (free + index).initialize(to: count - 1 - index)
      unsafe (isOut + index).initialize(to: false)
    }
    self.count = count
    self.blockByteCount = blockByteCount
    vacant = count
  }

  deinit {
    guard vacant == count else {
      // Whoever holds a block reads its record, and its owner.
      _ = unsafe Unmanaged.passRetained(owner)
      return
    }
    unsafe records.deallocate()
    unsafe free.deallocate()
    unsafe isOut.deallocate()
    _ = unsafe DMABuffer(block: memory)
  }

  /// Takes a block, `byteCount` reset to all of it; nil if none is free. Its bytes are what its
  /// last user left.
  @inlinable
  public mutating func take() -> UnsafeMutablePointer<DMABlock>? {
    guard vacant > 0 else { return nil }
    vacant &-= 1
    let index = unsafe free[vacant]
    unsafe isOut[index] = true
    let block = unsafe records + index
    unsafe block.pointee.byteCount = blockByteCount
    return unsafe block
  }

  /// Gives a block back. Traps on one that is not out of this pool.
  @inlinable
  public mutating func give(_ block: UnsafeMutablePointer<DMABlock>) {
    let index = unsafe block - records
    unsafe precondition(
      index >= 0 && index < count && records + index == block,
      "a block is given to a bounce pool that it is not from")
    unsafe precondition(isOut[index], "bounce block \(index) is given back twice")
    unsafe isOut[index] = false
    unsafe free[vacant] = index
    vacant &+= 1
  }
}

/// The owner that bounce blocks name: they go back to their pool, never through a ``DMABuffer``.
private final class BounceBlockOwner: DMABlockOwner, @unchecked Sendable {
  override func release(_ block: UnsafeMutablePointer<DMABlock>) {
    preconditionFailure("a bounce block goes back by BouncePool.give(_:), not as a DMABuffer")
  }
}

extension DMABlock {
  /// The record of a part of this block, whose first byte is at `offset`.
  func part(at offset: Int, byteCount: Int, owner: Unmanaged<DMABlockOwner>) -> DMABlock {
    var part = self
    unsafe part.base = base + offset
    part.byteCount = byteCount
    part.capacity = byteCount
    part.arenaOffset = arenaOffset + UInt64(offset)
    unsafe part.owner = owner
    part.locate()
    return part
  }
}
