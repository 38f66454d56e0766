internal import Synchronization
internal import Virtio

/// The device behind the function: registers, queues, the translation table, signals.
///
/// Locks: the register file's first, then queues' by index. Doorbells take their queue's lock and
/// nothing else.
final class DeviceCore: Sendable {
  let mode: EmulatedDisk.Mode
  let name: String
  let reachesRegions: Bool
  let signals: DeviceSignals
  let pages: PageTable
  let queues: QueueSet
  let registers: Mutex<RegisterFile>
  let wasUsed = Atomic<Bool>(false)
  /// A ``KickFormat``: 0 is the plain one, an index of 16 bits.
  let kickFormat = Atomic<UInt8>(0)
  let watchdog: Watchdog?
  let store: Mutex<Store>
  let zones: ZoneSet?
  /// What a power cut could lose, where that is modelled.
  let cache: VolatileCache?
  private let thread: DeviceThread?

  init(
    _ configuration: EmulatedDisk.Configuration, store: Store, zones: ZoneSet?,
    capacitySectors: UInt64, onBreach: (@Sendable (DriverBreach) -> Void)?
  ) throws(EmulatorError) {
    mode = configuration.mode
    name = configuration.name
    reachesRegions = configuration.reachesRegions
    signals = DeviceSignals(vectorCount: configuration.vectorCount)
    pages = PageTable()
    self.zones = zones
    cache = configuration.modelsCache ? VolatileCache(limit: Limits.cacheBytes) : nil
    var file = RegisterFile(
      configuration, capacitySectors: capacitySectors, zones: zones?.geometry)
    watchdog =
      configuration.watchdog ? Watchdog(Watchdog.Facts(file), onBreach: onBreach) : nil
    file.watchdog = watchdog
    registers = Mutex(file)
    self.store = Mutex(store)
    queues = QueueSet(
      configuration, pages: pages, signals: signals, store: store, zones: zones,
      cache: cache, capacitySectors: capacitySectors, watchdog: watchdog)
    thread = mode == .threaded ? try DeviceThread(queues) : nil
  }

  deinit {
    thread?.stop()
    store.withLock { $0.close() }
  }

  @inline(__always)
  var queueCount: Int { queues.count }

  /// Bytes of the notification area.
  @inline(__always)
  var notifyByteCount: UInt64 {
    UInt64(truncatingIfNeeded: queueCount) &* BARLayout.notifyMultiplier
  }

  /// A 16-bit write `position` bytes into the notification area.
  @inline(__always)
  func ring(_ position: UInt64, _ value: UInt32) {
    guard _fastPath(kickFormat.load(ordering: .relaxed) == 0) else {
      return ringNegotiated(position, value, width: 2)
    }
    let index = Int(truncatingIfNeeded: value & 0xFFFF)
    guard _fastPath(index < queueCount),
      _fastPath(position == UInt64(truncatingIfNeeded: index) &* BARLayout.notifyMultiplier)
    else {
      refuseKick(.kickOutOfRange, BARLayout.notify + position, value)
      return
    }
    kick(index)
  }

  /// A kick of queue `index`, which exists.
  @inline(__always)
  func kick(_ index: Int) {
    if _fastPath(mode == .inline) {
      if _slowPath(!queues.kick(index)) { explainKick(index) }
    } else if let thread {
      thread.ring(index)
    } else {
      ringStepped(index)
    }
  }

  /// A doorbell of a stepped disk: the next step is a test's.
  private func ringStepped(_ index: Int) {
    let live = queues.withQueue(index) { queue in
      queue.counters.kicks &+= 1
      queue.kicked = queue.live
      return queue.live
    }
    if !live { explainKick(index) }
  }

  /// Names the reason why a kick has no effect.
  @inline(never)
  private func explainKick(_ index: Int) {
    let broken = queues.withQueue(index) { $0.broken }
    if broken || signals.removed { return }
    registers.withLock { file in
      let status = signals.status
      let reason: Violation.Reason
      if status.contains(.suspend) {
        reason = .accessWhileSuspended
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
    case .inline: queues.forEachQueue { $0.serve() }
    case .threaded: thread?.wake()
    case .stepped: queues.forEachQueue { $0.kicked = $0.live }
    }
  }
}
