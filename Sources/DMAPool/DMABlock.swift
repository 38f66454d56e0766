/// The private record behind a ``DMABuffer``: where its memory is, for us and for the device.
///
/// For drivers; nobody else needs it. The arena owns the record, which stays at one address while
/// the buffer lives. The first four fields are all that the common case of a submission reads.
///
/// Invariants
/// 1. `base ..< base + byteCount` lies in the arena named by `arena`, and stays mapped while the
///    buffer lives.
/// 2. `plainArena == arena` exactly when the whole block is one run for the device; then
///    `deviceAddress` is the device's address of `base`. Otherwise `plainArena` is 0, which is no
///    arena's number, and the addresses come from ``run(at:limit:)``.
/// 3. 0 <= byteCount <= capacity.
@safe
@frozen
public struct DMABlock {
  /// First byte, for the processor.
  public var base: UnsafeMutableRawPointer
  /// First byte, for the device; meaningful as invariant 2 says.
  public var deviceAddress: UInt64
  /// Bytes in use.
  public var byteCount: Int
  /// The arena's number if the block is one run for the device, else 0.
  public var plainArena: UInt32
  /// The number of the arena that the block belongs to; never 0, never used twice in a process.
  public var arena: UInt32
  /// Bytes that may be in use.
  public var capacity: Int
  /// Device addresses of the arena's runs, in order; each run has `1 << runShift` bytes. One entry
  /// more than there are runs, and each run that the device can't reach, reads ``hole``.
  public var runs: UnsafePointer<UInt64>
  /// log2 of the bytes of a run.
  public var runShift: UInt64
  /// Where the block starts, in bytes from the start of the arena.
  public var arenaOffset: UInt64
  /// Who takes the block back: an unmanaged, retained ``DMABlockOwner``.
  public var owner: Unmanaged<DMABlockOwner>

  /// Fills a record; the arena's part of it.
  public init(
    base: UnsafeMutableRawPointer, deviceAddress: UInt64, byteCount: Int, plainArena: UInt32,
    arena: UInt32, capacity: Int, runs: UnsafePointer<UInt64>, runShift: UInt64,
    arenaOffset: UInt64, owner: Unmanaged<DMABlockOwner>
  ) {
    unsafe self.base = base
    self.deviceAddress = deviceAddress
    self.byteCount = byteCount
    self.plainArena = plainArena
    self.arena = arena
    self.capacity = capacity
    unsafe self.runs = runs
    self.runShift = runShift
    self.arenaOffset = arenaOffset
    unsafe self.owner = owner
  }

  /// What the table of runs holds where the device can reach nothing.
  @inlinable public static var hole: UInt64 { .max }

  /// The longest stretch from `offset` on that is contiguous for the device.
  ///
  /// - Parameters:
  ///   - offset: Bytes from the start of the block, less than `capacity`.
  ///   - limit: Most bytes wanted.
  /// - Returns: The device address of that byte, and how many bytes follow it, at most `limit`; 0
  ///   bytes where the device can't reach it.
  @inlinable
  public func run(at offset: Int, limit: Int) -> (deviceAddress: UInt64, byteCount: Int) {
    let position = arenaOffset &+ UInt64(truncatingIfNeeded: offset)
    let mask = (1 as UInt64) &<< runShift &- 1
    var index = Int(truncatingIfNeeded: position &>> runShift)
    let start = unsafe runs[index]
    guard start != DMABlock.hole else { return (0, 0) }
    let first = start &+ (position & mask)
    var count = Int(truncatingIfNeeded: mask &+ 1 &- (position & mask))
    while count < limit, unsafe runs[index + 1] == runs[index] &+ mask &+ 1 {
      index += 1
      count &+= Int(truncatingIfNeeded: mask &+ 1)
    }
    return (first, min(count, limit))
  }
}

/// Takes blocks back when their buffers die. The arena is one.
open class DMABlockOwner: @unchecked Sendable {
  /// For subclasses.
  public init() {}

  /// Takes `block` back; on any thread.
  open func release(_ block: UnsafeMutablePointer<DMABlock>) {
    preconditionFailure("a block owner must override release(_:)")
  }
}
