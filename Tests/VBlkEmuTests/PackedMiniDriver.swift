import CHostIO
import VBlkEmu
import Virtio

/// Where a driver is in a packed ring.
struct PackedPlace {
  /// A position that goes round: a slot and its wrap counter.
  struct Position: Hashable {
    var slot = 0
    var wrap = true

    mutating func advance(_ count: Int, size: Int) {
      slot += count
      while slot >= size {
        slot -= size
        wrap.toggle()
      }
    }
    func advanced(_ count: Int, size: Int) -> Position {
      var copy = self
      copy.advance(count, size: size)
      return copy
    }
    /// As an event suppression structure has it.
    var word: UInt16 { UInt16(slot) | (wrap ? 0x8000 : 0) }
    /// AVAIL and USED of an available descriptor there.
    var availableFlags: UInt16 { wrap ? 0x0080 : 0x8000 }
  }

  /// A list that the driver has written: its id, and its slots to go on by when it is used.
  struct List: Equatable {
    var id: UInt16
    var span: Int
  }

  /// Where the next list goes.
  var next = Position()
  /// Where the next used descriptor is looked for.
  var used = Position()
  /// Lists that are not yet used, oldest first.
  var lists: [List] = []
  /// The flags of the first descriptor that the device must not see yet.
  var held: (offset: Int, flags: UInt16)?
}

/// The packed ring of the mini-driver: nothing checked here either.
extension MiniDriver {
  /// Writes a list into the next slots, its id in the last descriptor and garbage in the others;
  /// the device sees it after ``publishPacked(queue:)``, or at once behind a list that it sees.
  func place(_ pieces: [Piece], id: UInt16, queue: Int = 0, garbage: UInt16 = 0xA5A5) {
    for (index, piece) in pieces.enumerated() {
      let last = index == pieces.count - 1
      placeDescriptor(
        piece.address, piece.length, (piece.writable ? 2 : 0) | (last ? 0 : 1),
        id: last ? id : garbage, queue: queue)
    }
    rings[queue].packed.lists.append(.init(id: id, span: pieces.count))
  }

  /// Writes a list as a table of its own, with one descriptor in the ring.
  func placeTable(_ pieces: [Piece], id: UInt16, queue: Int = 0, flags: UInt16 = 0) {
    let table = allocate(16 * pieces.count)
    for (index, piece) in pieces.enumerated() {
      writePacked(
        at: table + 16 * index, piece.address, piece.length, 0x5A5A, piece.writable ? 2 : 0)
    }
    placeDescriptor(address(table), UInt32(16 * pieces.count), 4 | flags, id: id, queue: queue)
    rings[queue].packed.lists.append(.init(id: id, span: 1))
  }

  /// Writes one descriptor into the next slot; AVAIL and USED are added.
  func placeDescriptor(
    _ address: UInt64, _ length: UInt32, _ flags: UInt16, id: UInt16, queue: Int = 0
  ) {
    let position = rings[queue].packed.next
    let offset = rings[queue].descriptors + 16 * position.slot
    let flags = flags | position.availableFlags
    let isFirst = rings[queue].packed.held == nil
    // The flags that are still there say that the slot is not available.
    let present = load(offset + 14, UInt16.self)
    writePacked(at: offset, address, length, id, isFirst ? present : flags)
    if isFirst { rings[queue].packed.held = (offset, flags) }
    rings[queue].packed.next.advance(1, size: rings[queue].size)
  }

  func writePacked(
    at offset: Int, _ address: UInt64, _ length: UInt32, _ id: UInt16, _ flags: UInt16
  ) {
    store(offset, address)
    chio_store64_release(
      memory + offset + 8, UInt64(length) | UInt64(id) << 32 | UInt64(flags) << 48)
  }

  /// Makes all that was placed available, by the flags of the first descriptor.
  func publishPacked(queue: Int = 0) {
    guard let held = rings[queue].packed.held else { return }
    chio_store16_release(memory + held.offset + 14, held.flags)
    rings[queue].packed.held = nil
    chio_fence_full()
  }

  /// Publishes and kicks.
  func kickPacked(queue: Int = 0) {
    publishPacked(queue: queue)
    ring(queue)
  }

  /// A used descriptor.
  struct Used: Equatable {
    var id: UInt16
    var length: UInt32
    var flags: UInt16
  }

  /// The word at the place of the next used descriptor, if it is one.
  func peekUsed(queue: Int = 0) -> Used? {
    let position = rings[queue].packed.used
    let offset = rings[queue].descriptors + 16 * position.slot
    let word = chio_load64_acquire(memory + offset + 8)
    let flags = UInt16(truncatingIfNeeded: word >> 48)
    guard flags & 0x8080 == (position.wrap ? 0x8080 : 0), !rings[queue].packed.lists.isEmpty else {
      return nil
    }
    return Used(
      id: UInt16(truncatingIfNeeded: word >> 32), length: UInt32(truncatingIfNeeded: word),
      flags: flags)
  }

  /// Takes the next used descriptor: in any order, one a list.
  func usedPacked(queue: Int = 0) -> Used? {
    guard let used = peekUsed(queue: queue) else { return nil }
    if let index = rings[queue].packed.lists.firstIndex(where: { $0.id == used.id }) {
      let list = rings[queue].packed.lists.remove(at: index)
      rings[queue].packed.used.advance(list.span, size: rings[queue].size)
    }
    return used
  }

  /// Takes the next used descriptor as one of IN_ORDER: it stands for all up to its id.
  ///
  /// - Returns: The ids that it stands for.
  func usedInOrder(queue: Int = 0) -> (used: Used, ids: [UInt16])? {
    guard let used = peekUsed(queue: queue) else { return nil }
    var ids: [UInt16] = []
    while !rings[queue].packed.lists.isEmpty, ids.last != used.id {
      let list = rings[queue].packed.lists.removeFirst()
      rings[queue].packed.used.advance(list.span, size: rings[queue].size)
      ids.append(list.id)
    }
    return (used, ids)
  }

  /// Does one request on a packed ring and waits for it, inline.
  func performPacked(
    _ type: RequestType, _ sector: UInt64 = 0, _ data: [Piece] = [], indirect: Bool = false,
    id: UInt16 = 0, queue: Int = 0
  ) -> (status: UInt8, used: Used)? {
    let request = request(type, sector, data)
    if indirect {
      placeTable(request.pieces, id: id, queue: queue)
    } else {
      place(request.pieces, id: id, queue: queue)
    }
    kickPacked(queue: queue)
    guard let used = usedPacked(queue: queue), used.id == id else { return nil }
    return (load(offset(request.status), UInt8.self), used)
  }

  /// Sets the driver's event suppression: flags 0 always, 1 never, 2 at a descriptor.
  func setDriverEvent(_ flags: UInt16, _ position: UInt16 = 0, queue: Int = 0) {
    store(rings[queue].available, UInt32(flags) << 16 | UInt32(position))
    chio_fence_full()
  }

  /// The device's event suppression.
  func deviceEvent(queue: Int = 0) -> (flags: UInt16, position: UInt16) {
    let word = chio_load32_once(memory + rings[queue].used)
    return (UInt16(word >> 16), UInt16(truncatingIfNeeded: word))
  }
}
