internal import Glibc
internal import PCI
internal import Synchronization
internal import Virtio

/// The device behind the function: registers, queues, the translation table, signals.
///
/// Locks: the register file's first, then queues' by index. A queue's struct is touched only under
/// its lock. Doorbells take their queue's lock and nothing else.
///
/// Invariant: `queues` and `locks` have `queueCount` entries that live as long as the core.
@safe
final class DeviceCore: @unchecked Sendable {
  let queueCount: Int
  let mode: EmulatedDisk.Mode
  let name: String
  let signals: DeviceSignals
  let pages: PageTable
  let registers: Mutex<RegisterFile>
  let wasUsed = Atomic<Bool>(false)
  let doorbell: ThreadDoorbell?

  private let queues: UnsafeMutablePointer<SplitQueue>
  private let locks: UnsafeMutablePointer<QueueLock>
  private let store: Mutex<Store>

  init(
    _ configuration: EmulatedDisk.Configuration, store: Store, capacitySectors: UInt64,
    doorbell: ThreadDoorbell?
  ) {
    queueCount = configuration.queues
    mode = configuration.mode
    name = configuration.name
    signals = DeviceSignals(vectorCount: configuration.vectorCount)
    pages = PageTable()
    self.doorbell = doorbell
    registers = Mutex(RegisterFile(configuration, capacitySectors: capacitySectors))
    self.store = Mutex(store)
    unsafe queues = .allocate(capacity: queueCount)
    unsafe locks = .allocate(capacity: queueCount)
    let limits = RangeLimits(
      discardSectors: configuration.maxDiscardSectors,
      discardSegments: configuration.maxDiscardSegments,
      writeZeroesSectors: configuration.maxWriteZeroesSectors,
      writeZeroesSegments: configuration.maxWriteZeroesSegments)
    var serial = Array(configuration.serial.utf8)
    serial += Array(repeating: 0, count: RequestAnswer.idByteCount - serial.count)
    for index in 0..<queueCount {
      unsafe (locks + index).initialize(to: QueueLock())
      unsafe (queues + index).initialize(
        to: SplitQueue(
          index: index, maximumSize: configuration.queueSize, pages: pages, signals: signals,
          store: store, capacitySectors: capacitySectors, limits: limits, serial: serial))
    }
    forEachQueue { queue in
      queue.readOnly = configuration.readOnly
      queue.interposition.setRules(
        configuration.faults, seed: configuration.seed &+ UInt64(queue.index))
      queue.interposition.setOrder(configuration.completionOrder, queue: queue.index)
      queue.interposition.hostility = configuration.hostility
      queue.interposed = queue.interposition.isNeeded
    }
  }

  deinit {
    for index in 0..<queueCount {
      unsafe queues[index].stamps.deallocate()
      unsafe locks[index].deallocate()
    }
    unsafe queues.deinitialize(count: queueCount)
    unsafe queues.deallocate()
    unsafe locks.deallocate()
    store.withLock { $0.close() }
    pages.deallocate()
    signals.deallocate()
  }

  /// Calls `body` with queue `index`, which exists, under its lock.
  @inline(__always)
  func withQueue<Result>(_ index: Int, _ body: (inout SplitQueue) -> Result) -> Result {
    let lock = unsafe locks[index]
    lock.lock()
    defer { lock.unlock() }
    return unsafe body(&queues[index])
  }

  /// Calls `body` with each queue, one lock at a time.
  func forEachQueue(_ body: (inout SplitQueue) -> Void) {
    for index in 0..<queueCount { withQueue(index, body) }
  }

  /// Calls `body` while no queue is served, then `each` with each queue.
  func withAllStopped<Result>(
    _ body: () -> Result, then each: (inout SplitQueue) -> Void = { _ in }
  ) -> Result {
    for index in 0..<queueCount { unsafe locks[index].lock() }
    defer { for index in 0..<queueCount { unsafe locks[index].unlock() } }
    let result = body()
    for index in 0..<queueCount { unsafe each(&queues[index]) }
    return result
  }

  /// Bytes of the notification area.
  @inline(__always)
  var notifyByteCount: UInt64 {
    UInt64(truncatingIfNeeded: queueCount) &* BARLayout.notifyMultiplier
  }

  /// A 16-bit write `position` bytes into the notification area.
  @inline(__always)
  func ring(_ position: UInt64, _ value: UInt32) {
    let index = Int(truncatingIfNeeded: value & 0xFFFF)
    guard _fastPath(index < queueCount),
      _fastPath(position == UInt64(truncatingIfNeeded: index) &* BARLayout.notifyMultiplier)
    else {
      refuseKick(.kickOutOfRange, BARLayout.notify + position, value)
      return
    }
    if _fastPath(mode == .inline) {
      let lock = unsafe locks[index]
      lock.lock()
      unsafe queues[index].counters.kicks &+= 1
      let live = unsafe queues[index].live
      if _fastPath(live) { unsafe queues[index].serve() }
      lock.unlock()
      if _slowPath(!live) { explainKick(index) }
    } else {
      ringOther(index)
    }
  }

  /// A doorbell of a disk that isn't inline: wakes the thread, or waits for the next step.
  private func ringOther(_ index: Int) {
    if let doorbell {
      doorbell.ring(index)
      return
    }
    let live = withQueue(index) { queue in
      queue.counters.kicks &+= 1
      queue.kicked = queue.live
      return queue.live
    }
    if !live { explainKick(index) }
  }

  /// Names the reason why a kick has no effect.
  @inline(never)
  func explainKick(_ index: Int) {
    let broken = withQueue(index) { $0.broken }
    registers.withLock { file in
      let status = signals.status
      let reason: Violation.Reason
      if broken || signals.removed {
        return
      } else if !status.contains(.driverOK) || status.contains(.failed) {
        reason = .kickBeforeDriverOK
      } else if !file.queues[index].enabled {
        reason = .kickOfDisabledQueue
      } else if !file.space.busMaster {
        reason = .kickWithoutBusMaster
      } else {
        return
      }
      file.report(reason, queue: index, at: BARLayout.notify, value: UInt64(status.rawValue))
    }
  }

  @inline(never)
  func refuseKick(_ reason: Violation.Reason, _ offset: UInt64, _ value: UInt32) {
    registers.withLock { $0.report(reason, at: offset, value: UInt64(value)) }
  }

  /// Serves what was made available before DRIVER_OK, so that no kick is lost.
  func serveAll() {
    switch mode {
    case .inline: forEachQueue { $0.serve() }
    case .threaded: doorbell?.wake()
    case .stepped: forEachQueue { $0.kicked = $0.live }
    }
  }
}
