import Synchronization

/// Sleeping until there is something to reap, for a thread that may: arm, wait on the eventfd (by
/// poll(2), epoll or io_uring), disarm, poll the queue.
extension Queue {
  /// The eventfd that this queue's interrupt signals, or nil where the device was opened without
  /// ``DeviceOptions/interrupts``. It is the device's: watch it, read it empty, don't close it.
  public var interruptDescriptor: CInt? {
    device.interrupts?.descriptor(ofQueue: memory.index)
  }

  /// Asks the device for an interrupt at its next completion. What is pending is kicked first.
  ///
  /// - Returns: False where there is something to reap already, or to care for: poll, don't sleep.
  ///   After true a completion signals ``interruptDescriptor``; none is lost in between
  ///   (virtio 1.2, 2.7.14: the index is looked at again after the request, fence N between).
  public mutating func armInterrupt() -> Bool {
    precondition(device.interrupts != nil, "the device was opened without interrupts")
    kick()
    device.acknowledgeLine()
    state.isArmed = true
    if isPacked {
      packed.requestInterrupt()
    } else {
      ring.requestInterrupt(lastUsed: lastUsed, eventIndex: eventIndex)
    }
    fenceFull()  // fence N
    let isQuiet =
      usedIndex() == lastUsed && usedSeen == lastUsed && isBatchReaped
      && state.keptCount == 0 && state.stalledCount == 0
      && !state.isStopped && device.epochWord.load(ordering: .acquiring) == epoch
    if !isQuiet { disarmInterrupt() }
    return isQuiet
  }

  /// Whether nothing is left of what the device said in order.
  private var isBatchReaped: Bool { !isInOrder || order.end == lastUsed }

  /// Ends ``armInterrupt()``: the queue is polled again.
  public mutating func disarmInterrupt() {
    state.isArmed = false
    device.acknowledgeLine()
    suppressInterrupts()
  }
}
