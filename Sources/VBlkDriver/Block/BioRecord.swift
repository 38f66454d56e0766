public import Synchronization

/// A slot's private record: the bio in flight under this head, and its dio too where the dio has
/// only this one bio ("plain": one buffer, one segment, read or write). 64 bytes, never shared with
/// the device; it alone decides what is in flight.
///
/// A slot is free, then owned, then free again in one reap.
/// - R1 plain and owned: `expected` is the used length of full success.
/// - R2 owned by a part: `owner` is a dio's index, and `expected` is the used length of full
///   success in 32 bits and `part` above them; or `partOfAnyLength`.
/// - R3 free: `expected` is `never`, which no 32-bit length equals.
/// - R4 lent to another slot's chain, or kept for a dio that waits: `isLent`, and `expected` is
///   `never`.
@usableFromInline
struct BioRecord: ~Copyable {
  /// Plain: the buffer in flight. Else the bounce block, or nil.
  @usableFromInline var block: BlockReference?
  /// Plain: the user's tag.
  @usableFromInline var tag: UInt64 = 0
  /// R1 to R4: by it alone a poll knows a request that succeeded.
  @usableFromInline var expected: UInt64 = BioRecord.never
  /// The slot's own data descriptor, in the ring or in its plain table. Set once.
  @usableFromInline let data: DataDescriptor
  /// First byte on the device.
  @usableFromInline var position: UInt64 = 0
  /// Data bytes.
  @usableFromInline var byteCount: UInt32 = 0
  /// Next free slot's head, or of a lent slot the next one lent to the same chain.
  @usableFromInline var next: UInt32 = BioRecord.none
  /// References of a plain dio.
  @usableFromInline let count = Atomic<UInt32>(0)
  /// The tick at submission, for the deadline.
  @usableFromInline var stamp: UInt32 = 0
  /// The dio of a bio that is not plain.
  @usableFromInline var owner: UInt32 = 0
  /// What the bio does.
  @usableFromInline var operation = Operation.read
  @usableFromInline var isLent = false
  /// How a synchronous plain dio failed, 0 if it did not.
  @usableFromInline var code: UInt8 = 0
  /// Descriptors of the ring in a chain that is not plain, for which the slot's prewritten ones may
  /// have been changed and must be restored; 0 for a plain chain.
  @usableFromInline var span: UInt8 = 0

  @inlinable static var never: UInt64 { .max }
  static var part: UInt64 { 1 << 32 }
  static var partOfAnyLength: UInt64 { 1 << 33 }
  /// End of a list of slots.
  @inlinable static var none: UInt32 { .max }

  init(data: DataDescriptor) { self.data = data }

  @inlinable
  var isPlain: Bool { expected <= UInt64(UInt32.max) }

  /// The buffer of a plain bio, owned or just reaped. By R1 there is one; only debug builds look.
  @inlinable @inline(__always)
  var plainBlock: BlockReference { unsafe block.unsafelyUnwrapped }

  @inlinable
  var isOwned: Bool { expected != Self.never }

  /// Owned, by a bio of a dio that has a record of its own.
  var isPart: Bool { isOwned && !isPlain }
}
