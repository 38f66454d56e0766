internal import Virtio

/// What a queue has to report: the first violations, faults and transfers, and how many more.
struct Reports {
  var violations: [Violation] = []
  var dmaFaults: [DMAFault] = []
  var transfers: [DMATransfer] = []
  /// Transfers that no longer fitted.
  var lostTransfers: UInt64 = 0
  var lastStoreError: CInt = 0
  var storeErrors: UInt64 = 0
}

extension DeviceQueue {
  /// Breaks the queue: it takes nothing more until a reset, and the driver is told by NEEDS_RESET
  /// and a configuration interrupt (virtio 1.2, 2.1.2).
  @inline(never)
  mutating func breakQueue(_ reason: Violation.Reason, at position: UInt64, value: UInt64) {
    live = false
    broken = true
    report(reason, .queueBroken, at: position, value: value)
    if interposition.defects.contains(.breaksSilently) { return }
    signals.add(.needsReset)
    signals.raiseConfiguration()
  }

  /// Notes a violation; only the first ones are kept.
  @inline(never)
  mutating func report(
    _ reason: Violation.Reason, _ consequence: Violation.Consequence, at position: UInt64,
    value: UInt64
  ) {
    counters.violations &+= 1
    if !interposition.hostility.contains(.scribblesDescriptors) {
      watch?.watchdog.note(reason, queue: index, at: position, value: value, packed: isPacked)
    }
    guard reports.violations.count < Limits.keptReports else { return }
    reports.violations.append(
      Violation(
        reason: reason, consequence: consequence, queue: index, position: position, value: value))
  }

  /// Notes an access that the emulated IOMMU refused.
  @inline(never)
  mutating func reportFault(
    _ address: UInt64, _ count: UInt64, _ direction: DMAFault.Direction
  ) {
    counters.dmaFaults &+= 1
    guard reports.dmaFaults.count < Limits.keptReports else { return }
    reports.dmaFaults.append(
      DMAFault(
        deviceAddress: address, byteCount: Int(truncatingIfNeeded: count), direction: direction,
        queue: index))
  }
}
