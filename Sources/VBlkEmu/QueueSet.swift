internal import Virtio

/// The queues of a disk and their locks. The device thread, if there is one, shares it with the
/// core.
///
/// Invariants
/// 1. `queues` and `locks` have `count` entries that live as long as the set.
/// 2. A queue's struct is touched only under its lock.
@safe
final class QueueSet: @unchecked Sendable {
  let count: Int
  private let queues: UnsafeMutablePointer<DeviceQueue>
  private let locks: UnsafeMutablePointer<QueueLock>
  private let pages: PageTable
  private let signals: DeviceSignals

  init(
    _ configuration: EmulatedDisk.Configuration, pages: PageTable, signals: DeviceSignals,
    store: Store, zones: ZoneSet?, cache: VolatileCache?, capacitySectors: UInt64,
    watchdog: Watchdog?
  ) {
    count = configuration.queues
    self.pages = pages
    self.signals = signals
    unsafe queues = .allocate(capacity: count)
    unsafe locks = .allocate(capacity: count)
    for index in 0..<count {
      unsafe (locks + index).initialize(to: QueueLock())
      var queue = DeviceQueue(
        index: index, maximumSize: configuration.queueSize, pages: pages, signals: signals,
        store: store, capacitySectors: capacitySectors, limits: RangeLimits(configuration))
      queue.serial = Array(configuration.serial.utf8)
      let padding: UInt8 = configuration.defects.contains(.idPaddedWithBlanks) ? 0x20 : 0
      queue.serial += Array(
        repeating: padding, count: RequestAnswer.idByteCount - queue.serial.count)
      queue.lifetime = configuration.lifetime.flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
      queue.readOnly = configuration.readOnly
      queue.zones = zones
      queue.cache = cache
      queue.interposition.isLong = zones != nil || cache != nil
      queue.mayMerge = configuration.inOrderBatches
      queue.watch = watchdog.map { QueueWatch($0, queue: index) }
      queue.interposition.setRules(
        configuration.faults, seed: configuration.seed &+ UInt64(index))
      queue.interposition.setOrder(configuration.completionOrder, queue: index)
      queue.interposition.hostility = configuration.hostility
      queue.interposition.defects = configuration.defects
      queue.interposed = queue.interposition.isNeeded
      unsafe (queues + index).initialize(to: queue)
    }
  }

  /// Nobody is left who could touch the queues: the thread has been joined.
  deinit {
    for index in 0..<count {
      unsafe queues[index].stamps.deallocate()
      unsafe queues[index].scratch.deallocate()
      unsafe locks[index].deallocate()
    }
    unsafe queues.deinitialize(count: count)
    unsafe queues.deallocate()
    unsafe locks.deallocate()
    pages.deallocate()
    signals.deallocate()
  }

  /// Calls `body` with queue `index`, which exists, under its lock.
  @inline(__always)
  func withQueue<Result>(_ index: Int, _ body: (inout DeviceQueue) -> Result) -> Result {
    precondition(index >= 0 && index < count, "a disk of \(count) queues has no queue \(index)")
    let lock = unsafe locks[index]
    lock.lock()
    defer { lock.unlock() }
    return unsafe body(&queues[index])
  }

  /// Calls `body` with each queue, one lock at a time.
  func forEachQueue(_ body: (inout DeviceQueue) -> Void) {
    for index in 0..<count { withQueue(index, body) }
  }

  /// Calls `body` while no queue is served, then `each` with each queue.
  func withAllStopped<Result>(
    _ body: () -> Result, then each: (inout DeviceQueue) -> Void = { _ in }
  ) -> Result {
    for index in 0..<count { unsafe locks[index].lock() }
    defer { for index in 0..<count { unsafe locks[index].unlock() } }
    let result = body()
    for index in 0..<count { unsafe each(&queues[index]) }
    return result
  }

  /// Counts a doorbell that only wakes the thread; the thread may hold the lock for long.
  @inline(__always)
  func countKick(_ index: Int) { unsafe locks[index].countKick() }

  /// Doorbells counted by ``countKick(_:)``.
  func threadKicks(_ index: Int) -> UInt64 { unsafe locks[index].kicks }

  /// A doorbell of an inline disk: serves the queue in the caller's thread.
  ///
  /// - Returns: False if the queue takes nothing; the kick is counted all the same.
  @inline(__always)
  func kick(_ index: Int) -> Bool {
    let lock = unsafe locks[index]
    lock.lock()
    unsafe queues[index].counters.kicks &+= 1
    let live = unsafe queues[index].live
    if _fastPath(live) { unsafe queues[index].serve() }
    lock.unlock()
    return live
  }
}
