internal import Virtio

/// A packed ring, from the device's side (virtio 1.2, 2.8).
///
/// ```
/// descriptors  [0] [1] … [size - 1]     driver writes available ones, we write used ones over them
/// driver event offset:15 wrap:1 flags   driver writes, we read once, whole
/// device event offset:15 wrap:1 flags   we write, whole, never read back
///
/// second word  length:32 id:16 flags:16 as one aligned 64-bit access, either way
/// ```
/// Two places go round: where the next available descriptor is read, with its wrap counter, kept as
/// the flag bits that it stands for; and where the next used one is written, `behind` slots before
/// it. While all that was taken is used at once, both are the same.
///
/// Invariants
/// 1. While the queue is live, the three areas are mapped for `size` entries, any number of them.
/// 2. `slot` is less than `size`.
/// 3. `behind`, the slots read and not yet used, and `pushed`, those used and not yet published,
///    are at most `size` together, or the queue is broken: nothing is written that was not read.
/// 4. If `pushed` is not 0, the word of the first of them is `heldWord`; the others are written
///    behind it, where the driver doesn't look before it sees the first.
///
/// Device order (the letters stand in the driver's ring file too)
/// 1. load the second word at `slot`: available?          acquire A
/// 2. its address, the list's other descriptors, table, header: each copied once
/// 3. data, then status
/// 4. used words behind the first
/// 5. store the first used word                           release U
/// 6. store the device event
/// 7. fence N and K: the used word before the load of the driver event, else a notification is
///    lost; the device event before the next load at `slot`, else a kick is lost
/// 8. load the driver event -> notify? load the word at `slot` again
struct PackedRing {
  let descriptors: SharedMemory
  let driverEvent: SharedMemory
  let deviceEvent: SharedMemory
  let size: Int

  // Ours: where we are.
  /// Where the next available descriptor will be.
  var slot = 0
  /// AVAIL and USED of an available descriptor there, where they stand in the second word.
  var availableBits = PackedRing.availableBit
  /// Slots read and not yet used.
  var behind = 0
  /// Slots used and not yet published.
  var pushed = 0
  /// Slots published since the last decision whether to notify.
  var undecided = 0
  private var heldSlot = 0
  private var heldWord: UInt64 = 0

  /// AVAIL in a second word.
  @inline(__always) static var availableBit: UInt64 { 1 << 55 }
  /// USED in a second word.
  @inline(__always) static var usedBit: UInt64 { 1 << 63 }
  /// What changes from turn to turn, of an available and of a used descriptor alike.
  @inline(__always) static var turnBits: UInt64 { availableBit | usedBit }
  /// WRITE in a second word.
  @inline(__always) static var writeBit: UInt64 { 2 << 48 }

  /// The flags of a used descriptor that mean nothing (virtio 1.2, 2.8.6 and 2.8.13): all but
  /// WRITE, AVAIL and USED.
  static var meaningless: UInt64 { 0x7F7D << 48 }

  /// A ring in the areas `memory`: descriptors, driver area, device area.
  init(_ memory: [SharedMemory], size: Int) {
    descriptors = memory[0]
    driverEvent = memory[1]
    deviceEvent = memory[2]
    self.size = size
  }

  /// The second word at `slot`.
  @inline(__always)
  var nextWord: UInt64 {
    // Acquire A: the rest of the list was written before its first flags.
    descriptors.load64Acquire(slot &* PackedLayout.descriptorStride &+ PackedLayout.lengthOffset)
  }

  /// The address in the descriptor at `slot`.
  @inline(__always)
  var nextAddress: UInt64 { descriptors.load64(slot &* PackedLayout.descriptorStride) }

  /// The two words of descriptor `index`, which is less than the size.
  @inline(__always)
  func words(_ index: Int) -> (UInt64, UInt64) {
    descriptors.loadPair(index &* PackedLayout.descriptorStride)
  }

  /// Whether the descriptor at `slot` with this second word is available: AVAIL is the wrap counter
  /// and USED is not, whatever the other bits say (virtio 1.2, 2.8.1).
  func isAvailable(_ word: UInt64) -> Bool { (word ^ availableBits) & PackedRing.turnBits == 0 }

  /// Whether anything is available.
  var isPending: Bool { isAvailable(nextWord) }

  /// Whether every slot is taken.
  var isFull: Bool { behind + pushed >= size }

  /// How many lists are available, at most as many as fit.
  var pending: Int { lookAhead().lists }

  /// The first place that is not available: offset, and the wrap counter in bit 15.
  var nextUnavailable: UInt16 {
    let ahead = lookAhead().ring
    return UInt16(ahead.slot) | (ahead.isFirstTurn ? 1 << 15 : 0)
  }

  /// Goes over what is available, in a copy.
  private func lookAhead() -> (ring: PackedRing, lists: Int) {
    var ahead = self
    var lists = 0
    while !ahead.isFull, ahead.isPending {
      lists += 1
      while !ahead.isFull, ahead.nextWord &>> 48 & 1 == 1 { ahead.take(1) }
      if !ahead.isFull { ahead.take(1) }
    }
    return (ahead, lists)
  }

  /// Goes on by a list of `count` descriptors, which are not yet used.
  @inline(__always)
  mutating func take(_ count: Int) {
    behind &+= count
    advance(count)
  }

  @inline(__always)
  private mutating func advance(_ count: Int) {
    slot &+= count
    if _slowPath(slot >= size) {
      slot &-= size
      availableBits ^= PackedRing.turnBits
    }
  }

  /// Takes the list at `slot` and writes its used descriptor over it, while nothing is `behind`.
  @inline(__always)
  mutating func exchange(_ element: UsedElement) {
    put(element.packedWord | (availableBits ^ PackedRing.usedBit), at: slot)
    pushed &+= element.span
    advance(element.span)
  }

  /// Writes the next used descriptor, and goes on by as many slots as its buffer took; the driver
  /// sees it when the first one since the last publication is published.
  mutating func push(_ element: UsedElement) {
    let index = index(before: behind)
    let bits = index < size ? PackedRing.turnBits : 0
    put((element.packedWord | bits) ^ element.disguise, at: index < size ? index : index - size)
    pushed += element.span
    behind -= element.span
  }

  /// The place some slots before `slot`, counted over two turns, after which places repeat.
  private func index(before count: Int) -> Int {
    let next = slot + (isFirstTurn ? 0 : size)
    let index = (next - count) % (2 * size)
    return index < 0 ? index + 2 * size : index
  }

  /// Whether the wrap counter at `slot` is 1.
  private var isFirstTurn: Bool { availableBits == PackedRing.availableBit }

  @inline(__always)
  private mutating func put(_ word: UInt64, at slot: Int) {
    if _slowPath(pushed == 0) {
      heldSlot = slot
      heldWord = word
    } else {
      store(word, at: slot)
    }
  }

  /// Release U: the driver that sees the first used descriptor sees the others, statuses and data.
  mutating func publish() {
    guard pushed != 0 else { return }
    store(heldWord, at: heldSlot)
    undecided += pushed
    pushed = 0
  }

  /// Stores the second word of a descriptor whole: length and id are there when the flags are.
  @inline(__always)
  private func store(_ word: UInt64, at slot: Int) {
    descriptors.store64Release(
      slot &* PackedLayout.descriptorStride &+ PackedLayout.lengthOffset, word)
  }

  /// Says when the driver shall kick (virtio 1.2, 2.8.10), in one store; the caller fences (K).
  func arm(_ wanted: Bool, eventIndex: Bool) {
    let flags: UInt16
    if wanted {
      flags = eventIndex ? PackedLayout.eventDescriptor : PackedLayout.eventEnable
    } else {
      flags = PackedLayout.eventDisable
    }
    let wrap: UInt32 = isFirstTurn ? 1 << 15 : 0
    deviceEvent.store32(0, UInt32(flags) << 16 | wrap | UInt32(slot))
  }

  /// What the driver's event suppression says of what was published since the last decision.
  enum Wish {
    case notify, quiet
    /// It is none that the driver may write: this word.
    case invalid(UInt32)
  }

  /// Reads the driver's event suppression, whole (virtio 1.2, 2.8.10); the caller has fenced (N).
  func wish(eventIndex: Bool) -> Wish {
    let word = driverEvent.load32(0)
    switch UInt16(word >> 16 & 3) {
    case PackedLayout.eventEnable: return .notify
    case PackedLayout.eventDisable: return .quiet
    case PackedLayout.eventDescriptor where eventIndex && Int(word & 0x7FFF) < size:
      return passed(event: Int(word & 0x7FFF), wrap: word >> 15 & 1 == 1) ? .notify : .quiet
    default: return .invalid(word)
    }
  }

  /// Whether the slots published since the last decision have the one at `event`, in the turn that
  /// `wrap` says, among them.
  private func passed(event: Int, wrap: Bool) -> Bool {
    let asked = event + (wrap ? 0 : size)
    let now = index(before: behind + pushed)
    let distance = now > asked ? now - asked : now - asked + 2 * size
    return distance <= undecided
  }
}

extension UsedElement {
  /// The second word of a packed used descriptor, without AVAIL and USED.
  @inline(__always)
  fileprivate var packedWord: UInt64 {
    UInt64(written) | UInt64(truncatingIfNeeded: id & 0xFFFF) &<< 32
      | (isWritten ? PackedRing.writeBit : 0)
  }
}
