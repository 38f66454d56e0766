import Synchronization
import Virtio

/// Resetting one queue, the others going on (RING_RESET, virtio 1.2, 2.6.1 and 4.1.5.1.5).
///
/// As with a reset of the device, the ring is still before anything in flight is ended: the device
/// has read `queue_reset` back as 0. Then what it used is reaped, the rest is swept by the ordinary
/// drop, and the ring is given to the device anew, of the same size or another.
extension Queue {
  /// The most operations in flight that ``reset(depth:)`` can give the queue: as many as it had
  /// when the device was opened.
  public var maximumDepth: Int { memory.largest.slotCount }

  /// Stops this queue alone, ends what it has in flight with `reset`, and starts it again.
  ///
  /// What the device had completed is delivered as it is. Other queues are not disturbed.
  ///
  /// - Parameter depth: Operations in flight from now on, 1 to ``maximumDepth``; a split ring's
  ///   size is a power of two, so it may become more. Nil leaves the size.
  /// - Throws: ``VBlkError`` `.unsupported` where RING_RESET is not negotiated, `.invalidArgument`
  ///   for a depth that can't be, and what submissions are refused with where the device stands
  ///   still; nothing has changed then. `.deviceUnavailable` where the device does not confirm the
  ///   reset or refuses the ring: the whole device is reset.
  public mutating func reset(depth: Int? = nil) throws(VBlkError) {
    let name = device.info.name
    guard device.info.accepted.contains(.ringReset) else {
      throw VBlkError(
        .unsupported, "RING_RESET is not negotiated with \(name) (virtio 1.2, 2.6.1)",
        remedy: "reset the device; it offers "
          + device.info.offered.described.joined(separator: " "))
    }
    guard let layout = memory.layout(forDepth: depth) else {
      throw VBlkError(
        .invalidArgument,
        "queue \(index) of \(name) can't be given a depth of \(depth ?? 0)",
        remedy: "choose 1 to \(maximumDepth), or open the device with a larger depth")
    }
    state.refusal = Refusal()
    if state.isStopped || device.epochWord.load(ordering: .acquiring) != epoch {
      if let code = refusalWhileStopped() { throw error(for: code) }
    }
    try resetRing(to: layout, code: .reset)
  }

  /// What a missed deadline asks for: a reset of the queue where it is negotiated, else, or where
  /// that fails, of the device (rule 10).
  mutating func resetLate(because cause: String) {
    guard device.info.accepted.contains(.ringReset), !device.isSuspended else {
      device.stop(.timedOut, because: "queue \(index): \(cause)")
      return followReset()
    }
    device.report("resetting queue \(index): \(cause)")
    // Where it fails the device is reset, and all that is in flight ends by that.
    try? resetRing(to: memory.layout, code: .timedOut)
  }

  private mutating func resetRing(
    to layout: QueueLayout, code: VBlkError.Code
  ) throws(VBlkError) {
    let before = epoch
    switch device.stopQueue(index, in: epoch) {
    case .confirmed: break
    case .elsewhere:
      followReset()
      throw error(for: device.refusalCode)
    case .unconfirmed:
      let cause = "queue \(index) does not confirm its reset"
      device.stop(code, because: cause)
      followReset()
      throw VBlkError(
        .deviceUnavailable, "\(device.info.name): \(cause) (virtio 1.2, 4.1.4.3.1)",
        remedy: "the device is faulty; all of it was reset")
    }
    while lookAgain() { reapOne() }
    // A breach in what was used has reset the device, and with it all there was to end.
    guard epoch == before, !state.isStopped else { throw error(for: .protocolViolation) }
    counters.resets += 1
    sweep(code: code)
    restartPositions()
    let old = memory.layout
    adopt(layout)
    do throws(VBlkError) {
      try device.startQueue(memory, in: epoch)
    } catch {
      adopt(old)
      device.stop(.reset, because: "queue \(index) was not taken again: \(error)")
      followReset()
      throw error
    }
    if let current = memory.doorbell { doorbell = current }
    suppressInterrupts()
    updateFastPath()
  }

  /// Takes the ring's new size over; every slot is free.
  private mutating func adopt(_ layout: QueueLayout) {
    memory.resize(to: layout)
    ring = memory.ring
    packed = memory.packed
    headLimit = UInt32(layout.headLimit)
    freeHead = BioRecord.none
    for slot in (0..<layout.slotCount).reversed() {
      let head = UInt32(slot * layout.headStride)
      precondition(!records[head].isOwned, "a ring changes its size with nothing in flight")
      records[head].next = freeHead
      freeHead = head
    }
    freeCount = layout.slotCount - state.keptCount - (state.isStopped ? Limits.closedOffset : 0)
  }
}
