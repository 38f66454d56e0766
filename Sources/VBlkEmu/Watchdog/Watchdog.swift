internal import Logging
internal import Synchronization
internal import Virtio

/// Names the rules that a driver breaks (``DriverRule``), and changes nothing else.
///
/// It looks from two places: at each access to a register (``RegisterWatch``), and at each batch of
/// requests before it is served (``QueueWatch``). What the device finds for its own safety, a
/// ``Violation``, is taken over by its rule. A disk without a watchdog pays a branch for it.
///
/// What it says is the driver's fault only while the device is honest: hostility that overwrites
/// descriptors blinds it.
final class Watchdog: Sendable {
  /// What a disk is, as far as rules depend on it.
  struct Facts: Sendable {
    let offered: Features
    let queueCount: Int
    /// Where virtio's capabilities lie in configuration space, and of them what may be written.
    let capabilities: Range<Int>
    let window: Range<Int>
  }

  private struct State {
    var registers = RegisterWatch()
    var breaches: [DriverBreach] = []
    var count: UInt64 = 0
  }

  let facts: Facts
  private let onBreach: @Sendable (DriverBreach) -> Void
  private let state = Mutex(State())

  /// Makes one that calls `onBreach` for each breach, on the thread and under the locks where it is
  /// seen; without it breaches are logged.
  init(_ facts: Facts, onBreach: (@Sendable (DriverBreach) -> Void)?) {
    self.facts = facts
    let logger = Logger(label: "vblk.watchdog")
    self.onBreach = onBreach ?? { logger.warning("\($0)") }
  }

  /// The first breaches.
  var breaches: [DriverBreach] { state.withLock { $0.breaches } }

  /// Notes a breach, and says so.
  func report(_ rule: DriverRule, queue: Int? = nil, at position: UInt64, value: UInt64) {
    let breach = DriverBreach(rule: rule, queue: queue, position: position, value: value)
    state.withLock { state in
      state.count += 1
      if state.breaches.count < Limits.keptReports { state.breaches.append(breach) }
    }
    onBreach(breach)
  }

  /// Takes over what the device found for itself.
  func note(
    _ reason: Violation.Reason, queue: Int?, at position: UInt64, value: UInt64, packed: Bool
  ) {
    guard var rule = reason.rule(packed: packed) ?? told(reason, queue: queue) else { return }
    if reason == .areaUnmapped, value == 0 { rule = .queueIncomplete }
    if reason == .readOnlyRegister { rule = told(readOnly: position) }
    report(rule, queue: queue, at: position, value: value)
  }

  /// The rule of a kick that had no effect.
  private func told(_ reason: Violation.Reason, queue: Int?) -> DriverRule? {
    guard reason == .kickBeforeDriverOK || reason == .kickOfDisabledQueue else { return nil }
    return state.withLock { state in
      if state.registers.hasFailed { return .afterFailure }
      if state.registers.isExcused(kickOf: queue ?? 0) { return nil }
      return reason == .kickBeforeDriverOK ? .earlyKick : .queueIncomplete
    }
  }

  /// The rule of a write that only the device may do.
  private func told(readOnly position: UInt64) -> DriverRule {
    let early = state.withLock { !$0.registers.isNegotiated }
    return early && BARLayout.isDeviceConfiguration(position)
      ? .earlyConfigWrite : .readOnlyRegister
  }

  /// Calls `body` with what was seen of the registers, and reports what it finds.
  private func watch(_ body: (inout RegisterWatch) -> RegisterWatch.Finding?) {
    if let found = state.withLock({ body(&$0.registers) }) {
      report(found.rule, queue: found.queue, at: found.position, value: found.value)
    }
  }

  // Registers.

  /// A register of the virtio region is about to be written.
  func willWrite(_ offset: UInt64, _ value: UInt32, status: DeviceStatus) {
    watch { $0.willWrite(offset, value, status: status, facts: facts) }
  }

  /// The status was written; this is what came of it.
  func didWriteStatus(_ value: UInt32, now status: DeviceStatus) {
    watch { watch in
      watch.didWriteStatus(value, now: status)
      return nil
    }
  }

  /// A register of the virtio region was read.
  func didRead(_ offset: UInt64, _ width: Int, _ value: UInt32) {
    watch { watch in
      switch offset {
      case CommonConfig.deviceStatus:
        watch.didReadStatus(DeviceStatus(rawValue: UInt8(truncatingIfNeeded: value)))
      case CommonConfig.configVector, CommonConfig.queueVector: watch.didReadVector(offset)
      case BARLayout.device..<BARLayout.notify:
        return watch.didReadConfiguration(
          Int(offset - BARLayout.device), width: width, offered: facts.offered)
      default: break
      }
      return nil
    }
  }

  /// The function was reset, or given back.
  func didReset() {
    watch { watch in
      watch.restart()
      return nil
    }
  }

  /// FEATURES_OK was written with this choice, by which the driver may use so many queues.
  func didChoose(_ choice: Features, queues: Int) {
    watch { watch in
      watch.usable = queues
      return nil
    }
    if let rule = choice.brokenRule(offered: facts.offered) {
      report(rule, at: CommonConfig.driverFeature, value: choice.rawValue)
    }
  }

  /// Configuration space is about to be written.
  func willWriteSpace(_ offset: Int, _ width: Int, _ value: UInt32) {
    guard facts.capabilities.overlaps(offset..<offset + width),
      !facts.window.contains(offset)
    else { return }
    report(.capabilityWritten, at: UInt64(offset), value: UInt64(value))
  }
}

extension Watchdog.Facts {
  init(_ file: RegisterFile) {
    self.init(
      offered: file.offered, queueCount: file.queues.count,
      capabilities: file.space.virtioCapabilities, window: file.space.windowFields)
  }
}

extension Features {
  /// The rule that a driver breaks by choosing these features of those `offered`, if any.
  func brokenRule(offered: Features) -> DriverRule? {
    let known = Features.names.reduce(into: Features()) { $0.insert(.bit($1.bit)) }
    let invented = subtracting(offered)
    if !subtracting(known).isEmpty { return .unknownFeature }
    if invented.contains(.singleRootIOV) { return .singleRootIOV }
    if !invented.isEmpty { return .notOffered }
    if offered.contains(.version1), !contains(.version1) { return .withoutVersion1 }
    return nil
  }
}
