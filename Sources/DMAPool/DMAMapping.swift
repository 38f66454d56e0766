/// One piece of memory as devices see it: its device addresses, and who has it mapped.
///
/// An arena and a piece of registered memory have one each, under their lock.
///
/// Invariants
/// 1. Device addresses are fixed by the first attach that works, and stay until the memory goes.
/// 2. They are multiples of their run, never 0, and never inside the memory's own virtual addresses
///    unless they are physical.
/// 3. A device is attached exactly when all stretches are mapped in it. Where an unmap failed some
///    may be left: then it is neither attached nor free, and only another detach helps.
@safe
struct DMAMapping: ~Copyable {
  private struct Attachment {
    let mapper: any DMAMapper
    /// How many stretches, from the first on, the device has mapped.
    var mapped: Int
  }

  /// Whose memory it is, for errors.
  let subject: String
  /// The memory, in whole pages.
  let memory: UnsafeMutableRawBufferPointer
  /// Where it lies for devices; nil before the first attach.
  private(set) var placement: DMAPlacement?
  private let choice: DMAPlacement.Choice
  private var attachments: [Attachment] = []

  /// Nothing is mapped yet.
  init(subject: String, memory: UnsafeMutableRawBufferPointer, choice: DMAPlacement.Choice) {
    self.subject = subject
    unsafe self.memory = memory
    self.choice = choice
  }

  /// Names of the devices that have anything of it mapped.
  var deviceNames: [String] { attachments.map(\.mapper.name) }

  /// Whether `mapper` has all of it mapped.
  func isAttached(to mapper: any DMAMapper) -> Bool {
    attachments.contains { $0.mapper === mapper && $0.mapped == placement?.stretches.count }
  }

  /// Maps the memory for a device; on an error nothing is left mapped in it.
  mutating func attach(to mapper: any DMAMapper) throws(DMAError) {
    if attachments.contains(where: { $0.mapper === mapper }) {
      throw isAttached(to: mapper)
        ? DMAError(
          .invalidArgument, "\(subject) is attached to \(mapper.name) already",
          remedy: "attach it once")
        : DMAError(
          .mapRefused, "\(subject) is still partly mapped in \(mapper.name), which failed to unmap",
          remedy: "detach it again, or reset the device")
    }
    let placement = try placement(for: mapper)
    attachments.append(Attachment(mapper: mapper, mapped: 0))
    let last = attachments.count - 1
    do throws(DMAError) {
      for stretch in placement.stretches {
        guard let start = unsafe memory.baseAddress else { preconditionFailure("no memory") }
        try unsafe mapper.map(
          start + stretch.offset, byteCount: stretch.byteCount,
          deviceAddress: stretch.deviceAddress)
        attachments[last].mapped += 1
      }
      self.placement = placement
    } catch {
      try? unmapAll(last)
      // If that failed too, the attachment stays, and with it the addresses.
      if !attachments.isEmpty { self.placement = placement }
      throw error
    }
  }

  private func placement(for mapper: any DMAMapper) throws(DMAError) -> DMAPlacement {
    guard let placement else {
      return try unsafe DMAPlacement.make(memory, choice, for: mapper, subject: subject)
    }
    try unsafe placement.check(mapper, memory, subject: subject)
    return placement
  }

  /// Ends the mapping in a device.
  mutating func detach(from mapper: any DMAMapper) throws(DMAError) {
    guard let index = attachments.firstIndex(where: { $0.mapper === mapper }) else {
      throw DMAError(
        .notAttached, "\(subject) is not attached to \(mapper.name)",
        remedy: "detach it only where it was attached")
    }
    try unmapAll(index)
  }

  /// Ends all mappings, as far as the devices let it, and throws the first error.
  mutating func detachAll() throws(DMAError) {
    var failure: DMAError?
    for index in attachments.indices.reversed() {
      do throws(DMAError) { try unmapAll(index) } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }

  /// Gives the device addresses back; nothing may be attached.
  mutating func forgetAddresses() {
    precondition(attachments.isEmpty, "\(subject) loses its addresses while a device maps them")
    placement = nil
  }

  /// Keeps the device addresses taken until the process ends: a device may still use them.
  mutating func abandonAddresses() {
    guard let placement else { return }
    _ = unsafe Unmanaged.passRetained(placement)
  }

  /// Unmaps the last stretch first, and forgets the device when none is left.
  private mutating func unmapAll(_ index: Int) throws(DMAError) {
    while attachments[index].mapped > 0, let placement {
      let stretch = placement.stretches[attachments[index].mapped - 1]
      try attachments[index].mapper.unmap(
        deviceAddress: stretch.deviceAddress, byteCount: stretch.byteCount)
      attachments[index].mapped -= 1
    }
    attachments.remove(at: index)
  }

  /// The record of the part that begins at `offset`.
  ///
  /// - Parameters:
  ///   - offset: Bytes from the start of the memory.
  ///   - byteCount: Bytes in use.
  ///   - capacity: Bytes of the part.
  ///   - arena: The owner's number.
  ///   - owner: The owner, retained for the block.
  /// - Returns: The record; the memory must have its device addresses.
  func block(
    at offset: Int, byteCount: Int, capacity: Int, arena: UInt32, owner: Unmanaged<DMABlockOwner>
  ) -> DMABlock {
    guard let placement, let start = unsafe memory.baseAddress else {
      preconditionFailure("\(subject) has no device addresses")
    }
    var block = unsafe DMABlock(
      base: start + offset, deviceAddress: 0, byteCount: byteCount, plainArena: 0, arena: arena,
      capacity: capacity, runs: placement.addresses, runShift: placement.runShift,
      arenaOffset: UInt64(offset), owner: owner)
    block.locate()
    return block
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
