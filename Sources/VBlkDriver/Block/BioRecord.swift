public import Synchronization

/// A slot's private record: the bio in flight under this head, and its dio too where the dio has
/// only this one bio ("plain": one buffer, one segment, read or write). 64 bytes, never shared with
/// the device; it alone decides what is in flight.
///
/// A slot is free, then owned, then free again in one reap.
/// - R1 plain and owned: `expected` is the used length of full success. Else `expected` is `never`,
///   which no 32-bit length equals.
/// - R2 owned, not plain: `state` is `.owned` and `owner` is a dio's index.
/// - R3 free: `state` is `.free` and `expected` is `never`.
/// - R4 lent to another slot's chain: `state` is `.lent`.
@usableFromInline
struct BioRecord: ~Copyable {
  /// Plain: the buffer in flight. Else the bounce block, or nil.
  @usableFromInline var block: BlockReference?
  /// Plain: the user's tag. Else the bytes of the device that the bio covers.
  @usableFromInline var tag: UInt64 = 0
  /// R1.
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
  @usableFromInline var state = State.free
  /// How a synchronous plain dio failed, 0 if it did not.
  @usableFromInline var code: UInt8 = 0
  /// Descriptors of the ring in a chain that is not plain, for which the slot's prewritten ones may
  /// have been changed and must be restored; 0 for a plain chain.
  @usableFromInline var span: UInt8 = 0

  /// R2-R4. Plain slots are owned by `expected`, so that the fast path writes no state.
  @usableFromInline
  enum State: UInt8 { case free, owned, lent }

  @inlinable static var never: UInt64 { .max }
  /// End of a list of slots.
  @inlinable static var none: UInt32 { .max }

  init(data: DataDescriptor) { self.data = data }

  @inlinable
  var isPlain: Bool { expected != Self.never }

  /// The buffer of a plain bio, owned or just reaped. By R1 there is one; only debug builds look.
  @inlinable @inline(__always)
  var plainBlock: BlockReference { unsafe block.unsafelyUnwrapped }

  @inlinable
  var isOwned: Bool { isPlain || state == .owned }
}
