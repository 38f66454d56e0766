/// One piece of memory as devices see it: its device addresses, who has it mapped, and which of its
/// blocks are out. The common part of ``DMAArena`` and ``RegisteredMemory``, under their lock.
///
/// Invariants
/// 1. Device addresses are fixed by the first attach that works, and stay until the memory goes.
/// 2. A device is attached exactly when all stretches are mapped in it. Where an unmap failed some
///    may be left: then it is neither attached nor free, and only another detach helps.
/// 3. While blocks are out, no attached device is detached, and the memory stays open.
///
/// It crosses threads only inside its owner's lock; hence `@unchecked Sendable`.
@safe
struct DMAMapping: ~Copyable, @unchecked Sendable {
  private struct Attachment {
    let mapper: any DMAMapper
    /// How many stretches, from the first on, the device has mapped.
    var mapped: Int
  }

  /// Whose memory it is, for errors.
  let subject: String
  /// The owner's number.
  let number: UInt32
  /// The first byte, at the start of a page.
  let start: UnsafeMutableRawPointer
  /// Bytes, in whole pages.
  let byteCount: Int
  private let choice: DMAPlacement.Choice
  private var placement: DMAPlacement?
  private var attachments: [Attachment] = []
  private var records = BlockRecords()
  private(set) var isClosed = false

  /// Nothing is mapped yet.
  init(
    subject: String, number: UInt32, start: UnsafeMutableRawPointer, byteCount: Int,
    choice: DMAPlacement.Choice
  ) {
    self.subject = subject
    self.number = number
    unsafe self.start = start
    self.byteCount = byteCount
    self.choice = choice
  }

  /// The memory's own addresses.
  private var addresses: Range<UInt> {
    let first = unsafe UInt(bitPattern: start)
    return first..<first + UInt(byteCount)
  }

  /// Blocks that are out.
  var blocksOut: Int { records.inUse }

  /// Whether `mapper` has all of it mapped.
  func isAttached(to mapper: any DMAMapper) -> Bool {
    attachments.contains { $0.mapper === mapper && $0.mapped == placement?.stretches.count }
  }

  /// Where the memory lies for devices.
  func requirePlacement() throws(DMAError) -> DMAPlacement {
    try checkOpen()
    guard let placement else {
      throw DMAError(
        .notAttached, "\(subject) has no device addresses before its first attach",
        remedy: "attach it to a device first")
    }
    return placement
  }

  private func checkOpen() throws(DMAError) {
    guard !isClosed else {
      throw DMAError(.closed, "\(subject) is closed", remedy: "make another one")
    }
  }

  private func checkIdle(_ wish: String) throws(DMAError) {
    guard blocksOut == 0 else {
      throw DMAError(
        .inUse, "\(subject) can't be \(wish): \(blocksOut) of its buffers are out",
        remedy: "let the transfers end and the buffers go first")
    }
  }
}

/// Devices.
extension DMAMapping {
  /// Maps the memory for a device; on an error nothing has changed.
  mutating func attach(to mapper: any DMAMapper) throws(DMAError) {
    try checkOpen()
    try checkUnknown(mapper)
    let isFirst = placement == nil
    let placement = try placement(for: mapper)
    self.placement = placement
    let index = attachments.count
    attachments.append(Attachment(mapper: mapper, mapped: 0))
    do throws(DMAError) {
      for stretch in placement.stretches {
        try unsafe mapper.map(
          start + stretch.offset, byteCount: stretch.byteCount,
          deviceAddress: stretch.deviceAddress)
        attachments[index].mapped += 1
      }
    } catch {
      // If the unmap fails too, the attachment stays, and with it the addresses.
      try? unmap(index)
      if isFirst, attachments.isEmpty { self.placement = nil }
      throw error
    }
  }

  private func checkUnknown(_ mapper: any DMAMapper) throws(DMAError) {
    guard attachments.contains(where: { $0.mapper === mapper }) else { return }
    if isAttached(to: mapper) {
      throw DMAError(
        .invalidArgument, "\(subject) is attached to \(mapper.name) already",
        remedy: "attach it once")
    }
    throw DMAError(
      .mapRefused, "\(subject) is still partly mapped in \(mapper.name), which failed to unmap it",
      remedy: "detach it again, or reset the device")
  }

  private func placement(for mapper: any DMAMapper) throws(DMAError) -> DMAPlacement {
    guard let placement else {
      return try DMAPlacement.make(addresses, choice, for: mapper, subject: subject)
    }
    try placement.check(mapper, addresses, subject: subject)
    return placement
  }

  /// Ends the mapping in a device.
  mutating func detach(from mapper: any DMAMapper) throws(DMAError) {
    try checkOpen()
    guard let index = attachments.firstIndex(where: { $0.mapper === mapper }) else {
      throw DMAError(
        .notAttached, "\(subject) is not attached to \(mapper.name)",
        remedy: "detach it only where it was attached")
    }
    if isAttached(to: mapper) { try checkIdle("detached from \(mapper.name)") }
    try unmap(index)
  }

  /// Unmaps the last stretch first, and forgets the device when none is left.
  private mutating func unmap(_ index: Int) throws(DMAError) {
    while attachments[index].mapped > 0 {
      let stretch = try requirePlacement().stretches[attachments[index].mapped - 1]
      try attachments[index].mapper.unmap(
        deviceAddress: stretch.deviceAddress, byteCount: stretch.byteCount)
      attachments[index].mapped -= 1
    }
    attachments.remove(at: index)
  }

  /// Ends all mappings and gives the device addresses back. On an error the memory stays open, less
  /// the devices that let it go.
  mutating func close(_ wish: String) throws(DMAError) {
    try checkOpen()
    try checkIdle(wish)
    var failure: DMAError?
    for index in attachments.indices.reversed() {
      do throws(DMAError) { try unmap(index) } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
    placement = nil
    isClosed = true
  }

  /// Closes the memory when its owner dies.
  ///
  /// - Returns: Whether it may be given back. If a device did not let go, the pages must stay, and
  ///   the device addresses stay taken until the process ends.
  mutating func closeForGood() -> Bool {
    do throws(DMAError) {
      if !isClosed { try close("closed") }
      return true
    } catch {
      if let placement { _ = unsafe Unmanaged.passRetained(placement) }
      return false
    }
  }
}

/// Blocks.
extension DMAMapping {
  /// Hands out the record of a part of the memory.
  ///
  /// - Parameters:
  ///   - offset: Where it begins, in bytes from the start of the memory.
  ///   - byteCount: Bytes in use.
  ///   - capacity: Bytes of the part.
  ///   - owner: The owner, retained for the block.
  /// - Returns: The record.
  /// - Throws: ``DMAError`` `.closed`, or `.notAttached` while there are no device addresses.
  mutating func take(
    at offset: Int, byteCount: Int, capacity: Int, owner: DMABlockOwner
  ) throws(DMAError) -> SendableRecord {
    let placement = try requirePlacement()
    var block = unsafe DMABlock(
      base: start + offset, deviceAddress: 0, byteCount: byteCount, plainArena: 0, arena: number,
      capacity: capacity, runs: placement.addresses, runShift: placement.runShift,
      arenaOffset: UInt64(offset), owner: .passRetained(owner))
    block.locate()
    return unsafe SendableRecord(pointer: records.take(block))
  }

  /// Takes a record back; its owner must then be released.
  ///
  /// - Returns: The bytes that the block had.
  mutating func give(_ record: SendableRecord) -> Range<Int> {
    let block = unsafe record.pointer.pointee
    precondition(
      block.arena == number, "a DMA buffer is released twice, or to memory that it is not from")
    unsafe records.give(record.pointer)
    let offset = Int(block.arenaOffset)
    return offset..<offset + block.capacity
  }
}

extension DMABlock {
  /// Makes `deviceAddress` and `plainArena` agree with the table of runs (invariant 2).
  mutating func locate() {
    let first = run(at: 0, limit: capacity)
    let isOneRun = first.byteCount == capacity
    deviceAddress = isOneRun ? first.deviceAddress : 0
    plainArena = isOneRun ? arena : 0
  }
}

/// A block's record on its way through a lock: one owner at a time, as ``DMABuffer`` has it.
@safe
struct SendableRecord: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<DMABlock>
}
