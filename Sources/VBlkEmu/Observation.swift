internal import Synchronization

/// What a disk has to tell. Nothing here changes what a driver sees.
extension EmulatedDisk {
  /// Errors that the store met; the requests ended with IOERR.
  public struct StoreErrors: Equatable, Sendable {
    /// How many.
    public var count: UInt64 = 0
    /// The errno of the last one, 0 if there was none: ENOSPC says that the image's disk is full.
    public var lastErrno: Int32 = 0
  }

  /// The rules that the driver broke, registers first, then queue by queue; the first 256 of each.
  public var violations: [Violation] {
    var all = core.registers.withLock { $0.violations }
    core.queues.forEachQueue { all += $0.reports.violations }
    return all
  }

  /// The rules that the driver broke, by the watchdog; the first 256. None without
  /// ``Configuration/watchdog``.
  public var breaches: [DriverBreach] { core.watchdog?.breaches ?? [] }

  /// The DMA accesses that the emulated IOMMU refused, queue by queue; the first 256 of each.
  public var dmaFaults: [DMAFault] {
    var all: [DMAFault] = []
    core.queues.forEachQueue { all += $0.reports.dmaFaults }
    return all
  }

  /// Errors of the store.
  public var storeErrors: StoreErrors {
    var errors = StoreErrors()
    core.queues.forEachQueue { queue in
      errors.count += queue.reports.storeErrors
      if queue.reports.lastStoreError != 0 { errors.lastErrno = queue.reports.lastStoreError }
    }
    return errors
  }

  /// What queue `queue` has done.
  public func counters(queue: Int) -> QueueCounters {
    var counters = core.queues.withQueue(queue) { $0.counters }
    counters.kicks += core.queues.threadKicks(queue)
    return counters
  }

  /// Switches the trace of data segments on or off; on, it starts empty.
  public func setTracing(_ tracing: Bool) {
    core.queues.forEachQueue { queue in
      queue.interposition.tracing = tracing
      if tracing { queue.reports.transfers = [] }
      queue.interposed = queue.interposition.isNeeded
    }
  }

  /// The data segments moved since tracing was switched on, queue by queue, as the driver described
  /// them: the proof of scatter-gather. At most 65,536 a queue.
  public var trace: [DMATransfer] {
    var all: [DMATransfer] = []
    core.queues.forEachQueue { all += $0.reports.transfers }
    return all
  }
}
