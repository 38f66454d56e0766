import Logging
import Synchronization
import Virtio

/// Stopping the device and starting it again (DESIGN §2, rule 10).
extension Device {
  /// With what operations end that a stop found in flight.
  var stopCode: VBlkError.Code {
    VBlkError.Code(rawValue: stopCodeValue.load(ordering: .acquiring)) ?? .reset
  }

  /// With what submissions are refused while the device does not run.
  var refusalCode: VBlkError.Code {
    if control.withLock({ $0.isClosed }) { return .closed }
    switch Phase(rawValue: phase.load(ordering: .acquiring)) {
    case .dead: return .removed
    case .suspended: return .suspended
    case .running, .stopping, .stopped, nil: return .resetting
    }
  }

  /// Stops the device; one thread wins, the others return at once. The device is still before
  /// anything in flight is ended (rule 10): status reads 0 first, then the epoch moves.
  func stop(_ code: VBlkError.Code, because cause: String) {
    guard
      changePhase(from: .running, to: .stopping) || changePhase(from: .suspended, to: .stopping)
    else { return }
    options.logger.warning("stopping \(info.name): \(cause)")
    stopCodeValue.store(code.rawValue, ordering: .releasing)
    let confirmed = writingConfiguration.withLock { _ in transport.resetDevice() }
    if !confirmed {
      quarantine()
      options.logger.error(
        "\(info.name) does not confirm the reset; its DMA memory is kept from reuse")
    } else if code == .removed {
      // It still answers, but is asked back: nothing is begun again on it.
      phase.store(Phase.dead.rawValue, ordering: .releasing)
      options.logger.notice("\(info.name) is asked back by the system; close it")
    }
    control.withLock { control in
      control.stoppedAt = now()
      control.lastCause = cause
      for index in control.isSwept.indices { control.isSwept[index] = !control.isHandedOut[index] }
      let epoch = epochWord.load(ordering: .acquiring) &+ 1
      epochWord.store(epoch & ~Self.suspendedBit, ordering: .releasing)
      // Not before: what was swept before this reset must not restart the device in the midst of
      // it.
      let stopped = confirmed ? Phase.stopped : .dead
      phase.store(stopped.rawValue, ordering: .releasing)
    }
    restartIfAllSwept()
  }

  /// A queue has ended everything that it had in flight in `epoch`.
  func swept(index: Int, epoch: UInt32) {
    guard epoch == epochWord.load(ordering: .acquiring) else { return }
    sweptIfLast(index: index)
  }

  func sweptIfLast(index: Int) {
    control.withLock { $0.isSwept[index] = true }
    restartIfAllSwept()
  }

  /// Restarts without the queues that have not swept for a second; they stay out until the next
  /// reset, and are named.
  func leaveOutUnswept() {
    restart {
      now() - $0.stoppedAt > Limits.sweepNanoseconds && $0.isSwept.contains(false) && !$0.isClosed
    }
  }

  private func restartIfAllSwept() {
    restart { !$0.isSwept.contains(false) && !$0.isClosed }
  }

  /// Brings the device up again with the features, limits and queues that it had, if it stands
  /// still
  /// and it is time. Both are looked at under the lock that a stop moves the epoch under: else the
  /// word of one epoch restarts the device in the next.
  private func restart(if isTime: (borrowing Control) -> Bool) {
    guard phase.load(ordering: .acquiring) == Phase.stopped.rawValue else { return }
    control.withLock { control in
      let epoch = epochWord.load(ordering: .acquiring)
      guard phase.load(ordering: .acquiring) == Phase.stopped.rawValue, isTime(control) else {
        return
      }
      do throws(VBlkError) {
        let again = try Negotiation(transport, declining: options.declinedFeatures)
        // A reset of the function has turned its DMA off.
        do throws(PCIError) {
          try transport.function.setBusMaster(true)
        } catch {
          throw VBlkError(error)
        }
        guard again.accepted == info.accepted, again.limits == info.limits else {
          throw VBlkError(
            .deviceUnavailable, "\(info.name) came back with other features or limits",
            remedy: "open it again")
        }
        try restoreWriteCache(again)
        // A reset has unmapped every vector; without interrupts that is what is wanted.
        if interrupts != nil { try Self.connectConfiguration(transport, interrupts) }
        for (index, queue) in control.queues.enumerated() {
          guard control.isSwept[index] else {
            options.logger.error("queue \(index) of \(info.name) has not swept; left out")
            continue
          }
          try Self.enable(queue, transport, interrupts)
          if !control.isHandedOut[index] { control.isClean[index] = true }
        }
        transport.addStatus(.driverOK)
        setCapacity(again.config.capacity << Sector.shift)
        happenings.deviceRestarted()
        configGeneration.store(again.config.generation, ordering: .relaxed)
        for (index, queue) in control.queues.enumerated() where control.isSwept[index] {
          queue.enabledEpoch.store(epoch, ordering: .releasing)
        }
        phase.store(Phase.running.rawValue, ordering: .releasing)
        options.logger.notice("\(info.name) runs again")
      } catch {
        transport.addStatus(.failed)
        phase.store(Phase.dead.rawValue, ordering: .releasing)
        options.logger.error("\(info.name) could not be restarted: \(error)")
      }
    }
  }

  /// Keeps all memory that the device might still write from being used again, for ever.
  func quarantine() {
    quarantined.store(true, ordering: .releasing)
    keepForEver(memory)
    keepForEver(ringMemory)
    control.withLock { control in
      for queue in control.queues { keepForEver(queue) }
    }
  }
}

/// Takes a reference that is never given back.
func keepForEver(_ object: AnyObject) { _ = unsafe Unmanaged.passRetained(object) }
