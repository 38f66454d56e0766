import Logging
import Synchronization

/// One queue stopped and started by itself (RING_RESET). Its owner does that, under the lock that a
/// restart of the device takes too, so that only one of them is at the registers.
extension Device {
  /// What became of ``stopQueue(_:in:)``.
  enum QueueStop {
    case confirmed, unconfirmed
    /// The device is being reset, and the queue with it.
    case elsewhere
  }

  func stopQueue(_ index: Int, in epoch: UInt32) -> QueueStop {
    control.withLock { _ in
      guard isRunning(in: epoch) else { return .elsewhere }
      return transport.resetQueue(index) ? .confirmed : .unconfirmed
    }
  }

  /// Gives the device the queue again; not where a reset of the device has begun, whose restart
  /// does.
  func startQueue(_ queue: QueueMemory, in epoch: UInt32) throws(VBlkError) {
    try control.withLock { _ throws(VBlkError) in
      guard isRunning(in: epoch) else { return }
      try Self.enable(queue, transport, interrupts)
    }
  }

  private func isRunning(in epoch: UInt32) -> Bool {
    phase.load(ordering: .acquiring) == Phase.running.rawValue
      && epochWord.load(ordering: .acquiring) == epoch
  }

  func report(_ what: String) { options.logger.warning("\(info.name): \(what)") }
}
