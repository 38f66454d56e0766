public import CHostIO
public import Virtio

/// A packed virtqueue, as the driver uses it (virtio 1.2, 2.8), with its own positions.
///
/// ```
/// descriptors  [0] [1] … [size - 1]     we write available ones, the device used ones over them
/// driver event offset:15 wrap:1 flags   we write, whole; never read back
/// device event offset:15 wrap:1 flags   device writes; read once, whole
///
/// second word  length:32 id:16 flags:16 as one aligned 64-bit access, either way
/// ```
/// Two places go round, each with its wrap counter, which is kept as the flag bits that it stands
/// for: `avail`, where the next request is written, and `used`, where the next used descriptor will
/// be. `first` is the second word, less its id, of a plain request's first descriptor at `avail`.
///
/// A batch is what was written since the last kick. Its first descriptor is written with AVAIL
/// turned round (`hold`), so that the device sees nothing; the kick stores its true flags, and with
/// them shows all of the batch.
///
/// I1, I2 and I4 of ``SplitRing`` hold, with buffer ids for heads; I3 counts requests, not
/// descriptors: `availPublished - lastUsed`.
/// - P1 the positions in use, from `used` to `avail`, are those of the requests in flight or held
///   back: 1 each with INDIRECT_DESC, else at most 3 for each slot that is owned or lent. So a free
///   slot always has its positions, and `avail` never overtakes `used`.
/// - P2 both places are a descriptor's, from `descriptors` up to `end`; neither comes from the
///   device.
/// - P3 `hold` is not 0 exactly when nothing was added since the last kick; then `held` is `avail`.
/// - P4 where a request is in flight each of its descriptors has our AVAIL, and USED turned round
///   until the device has used it: there USED alone says so. Where nothing is in flight there may
///   be the second or third descriptor of a list of the last turn, in which only AVAIL says that
///   it is not used.
///
/// ```
/// driver order                                    device order
/// 1 header, table, status, address                1 load second word: available?   acquire A
/// 2 second words, but the first's AVAIL           2 the list's others, table, header
/// 3 store the first's second word   release A     3 data, status
/// 4 fence K, load device event                    4 store used second word         release U
/// 5 load second word: used?         acquire U     5 before sleep: store device event, fence K,
/// 6 status, data                                    load second word
/// ```
/// Without A the device reads half-written lists; without U we read a status or data that is not
/// there yet; without K both sides sleep. The used word is loaded whole, so its flags, length and
/// id are of one store.
///
/// - P5 the pointers lie in the ring's memory, which outlives every queue.
@safe
@frozen
@usableFromInline
struct PackedRing {
  @usableFromInline let descriptors: UnsafeMutableRawPointer
  @usableFromInline let end: UnsafeMutableRawPointer
  @usableFromInline let driverEvent: UnsafeMutableRawPointer
  @usableFromInline let deviceEvent: UnsafeMutableRawPointer
  /// Device address of the first slot's table, or header; the others follow at ``RequestArea``'s
  /// stride.
  @usableFromInline let areas: UInt64
  /// Bytes of a plain request's descriptors, and the first place that has no more than that many
  /// before the end.
  @usableFromInline let plainSpan: Int
  @usableFromInline let plainLimit: UnsafeMutableRawPointer

  /// The next available descriptor.
  @usableFromInline var avail: UnsafeMutableRawPointer
  @usableFromInline var first: UInt64
  /// The next used descriptor, and what USED is in its second word.
  @usableFromInline var used: UnsafeMutableRawPointer
  @usableFromInline var usedBit = PackedRing.usedBit
  /// What is turned round in the next descriptor's second word: AVAIL, or nothing.
  @usableFromInline var hold = PackedRing.availableBit
  /// The first descriptor of the batch, and `first` there.
  @usableFromInline var held: UnsafeMutableRawPointer
  @usableFromInline var heldFirst: UInt64

  /// AVAIL in a second word.
  @inlinable static var availableBit: UInt64 { 1 << 55 }
  /// USED in a second word.
  @inlinable static var usedBit: UInt64 { 1 << 63 }
  /// What changes from turn to turn.
  @inlinable static var turnBits: UInt64 { 1 << 55 | 1 << 63 }
  @inlinable static var next: UInt64 { 1 << 48 }
  @inlinable static var write: UInt64 { 2 << 48 }
  @inlinable static var indirect: UInt64 { 4 << 48 }
  @inlinable static var stride: Int { PackedLayout.descriptorStride }
  @inlinable static var headerBytes: UInt64 { UInt64(RequestHeader.byteCount) }

  init(_ memory: SharedRun, layout: QueueLayout) {
    unsafe descriptors = memory.base + layout.descriptorsOffset
    unsafe end = descriptors + Self.stride * layout.size
    unsafe driverEvent = memory.base + layout.availOffset
    unsafe deviceEvent = memory.base + layout.usedOffset
    areas =
      memory.deviceAddress + UInt64(layout.requestsOffset)
      + UInt64(layout.isIndirect ? RequestArea.tableOffset : 0)
    plainSpan = Self.stride * (layout.isIndirect ? 1 : 3)
    unsafe plainLimit = end - plainSpan
    let plain =
      layout.isIndirect
      ? Self.indirect | UInt64(RequestArea.tableByteCount) : Self.next | Self.headerBytes
    first = plain | Self.availableBit
    heldFirst = first
    unsafe avail = descriptors
    unsafe used = descriptors
    unsafe held = descriptors
  }

  /// The first turn, as after a reset of the device.
  mutating func restart() { resume(at: Position()) }

  // MARK: - Available

  /// Writes one descriptor at `avail`, its first word first, and goes on. `word` has no AVAIL and
  /// USED.
  mutating func add(_ address: UInt64, _ word: UInt64) {
    addWhole(address, word | (first & Self.turnBits))
  }

  @inlinable @inline(__always)
  mutating func addWhole(_ address: UInt64, _ word: UInt64) {
    unsafe chio_store64_once(avail, address)
    unsafe chio_store64_once(avail + PackedLayout.lengthOffset, word ^ hold)
    hold = 0
    let next = unsafe avail + Self.stride
    if unsafe _fastPath(next != end) {
      unsafe avail = next
    } else {
      unsafe avail = descriptors
      first ^= Self.turnBits
    }
  }

  /// A request in one descriptor, which points to its slot's plain table.
  @inlinable @inline(__always)
  mutating func addTable(_ id: UInt32) {
    addWhole(areas &+ UInt64(id) &<< RequestArea.shift, first | UInt64(id) &<< 32)
  }

  /// A request in three descriptors: header, data at `data`, status.
  @inlinable @inline(__always)
  mutating func addTriple(_ id: UInt32, data: UInt64, count: UInt64, deviceWrites: Bool) {
    let header = areas &+ UInt64(id) &<< RequestArea.shift
    let write = deviceWrites ? Self.write : 0
    guard unsafe _fastPath(avail < plainLimit) else {
      return addTripleAtEnd(UInt64(id), header, data: data, count | write)
    }
    let place = unsafe avail
    let word = first | UInt64(id) &<< 32
    unsafe chio_store64_once(place, header)
    unsafe chio_store64_once(place + 8, word ^ hold)
    unsafe chio_store64_once(place + 16, data)
    // The same bits but for what differs: lengths, and WRITE for NEXT.
    unsafe chio_store64_once(place + 24, word &+ (count &- Self.headerBytes &+ write))
    unsafe chio_store64_once(place + 32, header &+ UInt64(RequestArea.statusOffset))
    unsafe chio_store64_once(
      place + 40, word &+ (Self.write &- Self.next &+ 1 &- Self.headerBytes))
    hold = 0
    unsafe avail = place + 48
  }

  /// The same where the ring ends within it or with it.
  @inline(never)
  @usableFromInline
  mutating func addTripleAtEnd(_ id: UInt64, _ header: UInt64, data: UInt64, _ word: UInt64) {
    add(header, id << 32 | Self.next | Self.headerBytes)
    add(data, id << 32 | Self.next | word)
    add(header + UInt64(RequestArea.statusOffset), id << 32 | Self.write | 1)
  }

  /// Shows the device the batch. There is one.
  ///
  /// The word is stored whole, as the device loads it. Its length and id are what we wrote, or what
  /// a hostile device made of them: then it is told its own.
  @inlinable @inline(__always)
  func publish() {
    let place = unsafe held + PackedLayout.lengthOffset
    let word = unsafe chio_load64_once(place) & 0xFFFF_FFFF_FFFF
    unsafe chio_store64_release(place, word | heldFirst & 0xFFFF << 48)  // release A
  }

  /// Begins the next batch, after the decision whether to kick for the last.
  @inlinable @inline(__always)
  mutating func beginBatch() {
    unsafe held = avail
    heldFirst = first
    hold = Self.availableBit
  }

  // MARK: - Used

  /// The second word at `used`.
  @inlinable @inline(__always)
  var nextWord: UInt64 {
    unsafe chio_load64_acquire(used + PackedLayout.lengthOffset)  // acquire U
  }

  /// Whether the device has used a request, of which at least one is in flight (P4).
  @inlinable @inline(__always)
  func isUsed(_ word: UInt64) -> Bool { Int64(bitPattern: word ^ usedBit) >= 0 }

  /// Whether there is a used descriptor where nothing is in flight.
  @inlinable @inline(__always)
  func isUnasked(_ word: UInt64) -> Bool {
    (word ^ (usedBit | usedBit &>> 8)) & Self.turnBits == 0
  }

  /// The buffer id and the used length in a second word.
  @inlinable @inline(__always)
  static func usedElement(_ word: UInt64) -> (id: UInt32, length: UInt32) {
    (UInt32(truncatingIfNeeded: word &>> 32) & 0xFFFF, UInt32(truncatingIfNeeded: word))
  }

  /// Steps over the descriptors of a plain request that was used.
  @inlinable @inline(__always)
  mutating func stepPlain() {
    let next = unsafe used + plainSpan
    if unsafe _fastPath(next < end) {
      unsafe used = next
    } else {
      unsafe used = descriptors + (next - end)
      usedBit ^= Self.usedBit
    }
  }

  /// Goes on with used descriptors where a copy of this ring stands.
  @inlinable @inline(__always)
  mutating func goOn(from copy: PackedRing) {
    unsafe used = copy.used
    usedBit = copy.usedBit
  }

  /// Takes back ``stepPlain()``. Inlined, or a copy of the ring would have to stand in memory.
  @inlinable @inline(__always)
  mutating func unstepPlain() {
    let back = unsafe used - plainSpan
    if unsafe back >= descriptors {
      unsafe used = back
    } else {
      unsafe used = end - (descriptors - back)
      usedBit ^= Self.usedBit
    }
  }

  /// Steps over the descriptors of a request that was used: `count`, or a plain one's if that is 0.
  /// They are at most as many as are in use (P1).
  @inline(__always)
  mutating func step(_ count: Int) {
    let next = unsafe used + (count == 0 ? plainSpan : Self.stride * count)
    if unsafe next < end {
      unsafe used = next
    } else {
      unsafe used = descriptors + (next - end)
      usedBit ^= Self.usedBit
    }
  }

  // MARK: - Events

  /// Whether the device wants to be told of the batch (virtio 1.2, 2.8.10). Fence K stands before.
  @inlinable @inline(__always)
  mutating func wantsKick(eventIndex: Bool) -> Bool {
    let event = unsafe chio_load32_once(deviceEvent)
    switch UInt16(truncatingIfNeeded: event &>> 16) & 3 {
    case PackedLayout.eventEnable: return true
    case PackedLayout.eventDisable: return false
    case PackedLayout.eventDescriptor where eventIndex:
      return passes(UInt16(truncatingIfNeeded: event))
    default: return true  // Nothing that a device may write: telling it too often is harmless.
    }
  }

  /// Whether the batch has the descriptor at an event's offset, in the turn that its wrap counter
  /// says. Counted over two turns, after which places repeat.
  @inline(never)
  @usableFromInline
  mutating func passes(_ event: UInt16) -> Bool {
    let turn = unsafe end - descriptors
    let asked = Int(event & 0x7FFF) &* Self.stride &+ (event >> 15 == 1 ? 0 : turn)
    let new = unsafe avail - descriptors + (isFirstTurn(first) ? 0 : turn)
    let old = unsafe held - descriptors + (isFirstTurn(heldFirst) ? 0 : turn)
    let added = new &- old &+ (new < old ? 2 &* turn : 0)
    let distance = new &- asked &+ (new <= asked ? 2 &* turn : 0)
    return distance <= added
  }

  private func isFirstTurn(_ word: UInt64) -> Bool { word & Self.availableBit != 0 }

  /// Asks the device for an interrupt at each used descriptor; fence N stands after it.
  func requestInterrupt() {
    unsafe chio_store32_once(driverEvent, UInt32(PackedLayout.eventEnable) << 16)
  }

  /// Asks the device for no interrupts.
  func suppressInterrupts() {
    unsafe chio_store32_once(driverEvent, UInt32(PackedLayout.eventDisable) << 16)
  }

  /// The first place that is not available, with its wrap counter in bit 15; for a notification
  /// that carries it. What was added since the last kick is not available yet (P3).
  var nextUnavailable: UInt16 {
    let place = unsafe UInt16((held - descriptors) / Self.stride)
    return place | (isFirstTurn(heldFirst) ? 1 << 15 : 0)
  }

  // MARK: - Closed and handed out again

  /// Where a queue stands that has nothing in flight: there `used` is `avail`.
  struct Position {
    /// Bytes from the first descriptor.
    var offset = 0
    var isFirstTurn = true
  }

  /// Where the ring stands while nothing is in flight or held back.
  var position: Position {
    unsafe Position(offset: avail - descriptors, isFirstTurn: isFirstTurn(first))
  }

  /// Goes on where a ring with nothing in flight stood.
  mutating func resume(at position: Position) {
    unsafe avail = descriptors + position.offset
    unsafe used = avail
    first = first & ~Self.turnBits | (position.isFirstTurn ? Self.availableBit : Self.usedBit)
    usedBit = position.isFirstTurn ? Self.usedBit : 0
    beginBatch()
  }
}
