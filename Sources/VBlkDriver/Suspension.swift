import CHostIO
import Logging
import Synchronization
import Virtio

/// SUSPEND (virtio 1.4, 2.1.2): the device stands still with everything as it is, and goes on.
///
/// While the device is suspended a bit stands in the epoch. A queue whose epoch is not the present
/// one shows the device nothing and rings no doorbell, and finds everything where it was when the
/// epoch is its own again. What had been completed can be taken
/// meanwhile; deadlines stand still; submissions are held back; synchronous calls are refused.
extension Device {
  /// Suspends the device: what it has of requests it ends first or keeps, as it likes; then it
  /// touches no memory and signals nothing until ``resume()``.
  ///
  /// - Throws: ``VBlkError`` `.unsupported` where SUSPEND is not negotiated, `.resetting` or
  ///   `.suspended` where the device does not run; `.deviceUnavailable` where it does not obey, and
  ///   is reset.
  public func suspend() throws(VBlkError) {
    guard info.accepted.contains(.suspend) else {
      throw VBlkError(
        .unsupported, "SUSPEND is not negotiated with \(info.name) (virtio 1.4, 2.1.2)",
        remedy: "stop submitting to its queues instead")
    }
    let epoch = epochWord.load(ordering: .acquiring)
    guard changePhase(from: .running, to: .suspended) else { throw standsStill() }
    // A reset that has begun meanwhile has moved the epoch, or will: then it decides.
    let isOurs = control.withLock { _ in
      guard isSuspended,
        epochWord.compareExchange(
          expected: epoch, desired: epoch | Self.suspendedBit, ordering: .acquiringAndReleasing
        ).exchanged
      else { return false }
      transport.addStatus(.suspend)
      return true
    }
    guard isOurs else { throw standsStill() }
    let isStill = waitForStatus { $0.contains(.suspend) && !$0.contains(.driverOK) }
    guard isStill else { throw giveUp("does not suspend") }
    options.logger.notice("\(info.name) is suspended")
  }

  /// Lets a suspended device go on where it was.
  ///
  /// - Throws: ``VBlkError`` `.invalidArgument` where it is not suspended; `.deviceUnavailable`
  ///   where it does not go on: then it is reset.
  public func resume() throws(VBlkError) {
    guard isSuspended else {
      throw VBlkError(
        .invalidArgument, "\(info.name) is not suspended", remedy: "suspend it first")
    }
    control.withLock { _ in
      if isSuspended { transport.addStatus(.driverOK) }
    }
    guard waitForStatus({ $0.contains(.driverOK) && !$0.contains(.suspend) }) else {
      throw giveUp("does not go on")
    }
    guard changePhase(from: .suspended, to: .running) else { throw standsStill() }
    // A reset from here on clears the bit itself.
    let epoch = epochWord.load(ordering: .acquiring)
    _ = epochWord.compareExchange(
      expected: epoch | Self.suspendedBit, desired: epoch & ~Self.suspendedBit,
      ordering: .acquiringAndReleasing)
    options.logger.notice("\(info.name) goes on")
  }

  /// Whether the device is suspended.
  public var isSuspended: Bool {
    phase.load(ordering: .acquiring) == Phase.suspended.rawValue
  }

  /// In the epoch while the device is suspended.
  static var suspendedBit: UInt32 { 1 << 31 }

  func changePhase(from old: Phase, to new: Phase) -> Bool {
    phase.compareExchange(
      expected: old.rawValue, desired: new.rawValue, ordering: .acquiringAndReleasing
    ).exchanged
  }

  private func waitForStatus(_ isReached: (DeviceStatus) -> Bool) -> Bool {
    let start = chio_now_ns()
    repeat {
      let status = transport.status
      if status != .removed, !status.contains(.needsReset), isReached(status) { return true }
      chio_pause()
    } while chio_now_ns() - start < Limits.resetNanoseconds
    return false
  }

  private func standsStill() -> VBlkError {
    VBlkError(
      refusalCode, "\(info.name) does not run now",
      remedy: isSuspended ? "resume it" : "try again after its reset")
  }

  private func giveUp(_ what: String) -> VBlkError {
    let status = transport.status.rawValue
    stop(.reset, because: "it \(what)")
    return VBlkError(
      .deviceUnavailable,
      "\(info.name) \(what): its status reads \(status) (virtio 1.4, 2.1.2)",
      remedy: "the device is faulty; it was reset")
  }
}
