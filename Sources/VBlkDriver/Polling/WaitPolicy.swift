import CHostIO
import Glibc
import Virtio

/// How a thread waits for a completion: what it spends on being quick.
public enum WaitPolicy: String, Sendable, CaseIterable {
  /// Polls all the time. The quickest, and a processor of its own.
  case busy
  /// Polls for a while, then sleeps until the device's interrupt. How long it polls follows from
  /// how long it had to wait lately.
  case adaptive
  /// Sleeps until the device's interrupt.
  case interrupt

  /// Whether the device must be opened with ``DeviceOptions/interrupts``.
  public var needsInterrupts: Bool { self != .busy }
}

extension Queue {
  /// The next finished operation, waited for as `policy` says.
  ///
  /// What is pending is kicked first. A sleeping queue wakes for its slow tick too, so that
  /// deadlines and lost interrupts are seen to. Queues that share a vector or the interrupt line
  /// may take each other's signal, and wake at that tick: give threads that sleep a vector each.
  ///
  /// - Parameters:
  ///   - policy: How to wait. All but `.busy` need a device opened with interrupts.
  ///   - limit: How long, in nanoseconds.
  /// - Returns: The completion; nil where the time is over, or nothing is in flight.
  public mutating func next(waiting policy: WaitPolicy, forNanoseconds limit: UInt64)
    -> Completion?
  {
    precondition(
      !policy.needsInterrupts || device.interrupts != nil,
      "the device was opened without interrupts")
    if let done = next() { return done }
    let start = chio_now_ns()
    let spin: UInt64 =
      switch policy {
      case .busy: limit
      case .adaptive: min(limit, state.spinNanoseconds)
      case .interrupt: 0
      }
    var spent: UInt64 = 0
    while inFlight > 0 || state.keptCount > 0 {
      if spent < spin || policy == .busy {
        if let done = spinOnce() { return done }
      } else if let done = sleepOnce(limit &- spent) {
        if policy == .adaptive { learn(waited: chio_now_ns() &- start) }
        return done
      }
      spent = chio_now_ns() &- start
      guard spent < limit else { return nil }
    }
    return nil
  }

  /// Looks a number of times, with no look at the clock in between.
  private mutating func spinOnce() -> Completion? {
    for _ in 0..<Limits.spinsPerClock {
      if let done = next() { return done }
      chio_pause()
    }
    return nil
  }

  /// Sleeps until an interrupt or the next tick, and looks.
  private mutating func sleepOnce(_ limit: UInt64) -> Completion? {
    if armInterrupt(), let descriptor = interruptDescriptor {
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let most = min(limit, Limits.tickNanoseconds)
      let milliseconds = CInt((most + 999_999) / 1_000_000)
      _ = unsafe Glibc.poll(&waiting, 1, milliseconds)
      var count: UInt64 = 0
      _ = unsafe Glibc.read(descriptor, &count, 8)
      disarmInterrupt()
    }
    slowTick()
    return next()
  }

  /// Polls longer where that would have met the completion, shorter where it was in vain.
  mutating func learn(waited: UInt64) {
    if waited <= Limits.longestSpinNanoseconds {
      state.spinNanoseconds = min(
        max(state.spinNanoseconds * 2, Limits.shortestSpinNanoseconds),
        Limits.longestSpinNanoseconds)
    } else {
      state.spinNanoseconds = max(state.spinNanoseconds / 2, Limits.shortestSpinNanoseconds)
    }
  }
}
