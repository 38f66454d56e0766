@_exported public import DMAPool
@_exported public import PCI
internal import Synchronization
internal import Virtio

/// A virtio-blk disk emulated in this process: a whole PCI function, with its IOMMU (virtio 1.2).
///
/// A driver drives ``function`` as it would a real one. Whatever the driver writes is copied once,
/// checked, and only then used: a violation breaks the queue and is named in ``violations``; it
/// never ends the process. Calls may come from any thread. The disk lives as long as its function
/// is used, even if this object is gone.
public final class EmulatedDisk: Sendable {
  let core: DeviceCore
  private let device: EmulatedFunction

  /// What the disk was made as.
  public let configuration: Configuration

  /// Makes a disk.
  ///
  /// - Parameters:
  ///   - configuration: What it is like.
  ///   - onBreach: Called for each rule that the driver breaks, where
  ///     ``Configuration/watchdog`` is on: on the thread that broke it or the disk's, under locks
  ///     of the disk's, so it must not call the disk. Without it breaches are logged.
  /// - Throws: ``EmulatorError`` for a configuration that no disk can have, for an image that is
  ///   missing, unreadable, empty or no whole number of blocks, and for what the system refuses.
  public init(
    _ configuration: Configuration, onBreach: (@Sendable (DriverBreach) -> Void)? = nil
  ) throws(EmulatorError) {
    try configuration.check()
    self.configuration = configuration
    let (store, byteCount) = try Store.open(configuration)
    do throws(EmulatorError) {
      let sectors = byteCount >> Sector.shift
      core = try DeviceCore(
        configuration, store: store,
        zones: try ZoneSet.open(configuration, diskSectors: sectors), capacitySectors: sectors,
        onBreach: onBreach)
    } catch {
      store.close()
      throw error
    }
    let iommu = EmulatedIOMMU(core: core, ranges: configuration.addressRanges)
    device = EmulatedFunction(core: core, iommu: iommu)
  }

  /// The disk as the bus shows it.
  public var function: any PCIFunction { device }

  /// Capacity in 512-byte sectors.
  public var capacitySectors: UInt64 { core.queues.withQueue(0) { $0.capacitySectors } }

  // Events.

  /// Changes the capacity: the generation moves on, and a driver that is up is told (virtio 1.2,
  /// 5.2.5).
  ///
  /// A smaller capacity hides the end of the contents, which stay; a larger one makes them longer.
  ///
  /// - Parameter sectors: The capacity in 512-byte sectors.
  /// - Throws: ``EmulatorError`` if the contents can't be made that long.
  public func setCapacity(sectors: UInt64) throws(EmulatorError) {
    guard core.zones == nil else {
      throw EmulatorError(
        .wrongState, "a zoned disk keeps its capacity", remedy: "make one without zones")
    }
    let error: EmulatorError? = core.registers.withLock { file in
      let error = core.store.withLock { store in
        core.queues.withAllStopped {
          Result { () throws(EmulatorError) in try store.grow(to: sectors) }
        } then: {
          $0.store = store
        }
      }
      if case .failure(let error) = error { return error }
      file.device.set(BlockConfigLayout.capacity, sectors)
      let shown = file.device.capacitySectors
      core.queues.forEachQueue { queue in
        queue.capacitySectors = sectors
        queue.watch?.show(capacitySectors: shown)
      }
      core.signals.advanceGeneration()
      if file.defects.contains(.capacitySilent) { return nil }
      if core.signals.isStarted { core.signals.raiseConfiguration() }
      return nil
    }
    if let error { throw error }
  }

  /// Sets DEVICE_NEEDS_RESET and tells a driver that is up (virtio 1.2, 2.1.2).
  public func needsReset() {
    core.signals.add(.needsReset)
    if core.signals.isStarted { core.signals.raiseConfiguration() }
  }

  /// Pulls the function out of its slot: every read is all ones from now on, nothing is served.
  public func remove() {
    core.signals.remove()
    core.queues.forEachQueue { $0.live = false }
  }

  // Faults.

  /// Replaces the fault rules; their counts start anew.
  ///
  /// - Parameters:
  ///   - rules: The first one that matches a request decides.
  ///   - seed: Of the probabilities.
  public func setFaults(_ rules: [FaultRule], seed: UInt64 = 1) {
    core.queues.forEachQueue { queue in
      queue.interposition.setRules(rules, seed: seed &+ UInt64(queue.index))
      queue.interposed = queue.interposition.isNeeded
    }
  }

  /// Replaces the ways in which the device misbehaves. Capabilities and configuration fields are
  /// fixed when the disk is made.
  ///
  /// - Parameters:
  ///   - hostility: The switches.
  ///   - skip: Completions of each queue that are still honest.
  ///   - count: Completions of each queue that are hostile then; honest again after those.
  public func misbehave(_ hostility: Hostility, skip: UInt64 = 0, count: UInt64 = .max) {
    core.registers.withLock { $0.hostility = hostility }
    core.queues.forEachQueue { queue in
      queue.interposition.hostility = hostility
      queue.interposition.honest = skip
      queue.interposition.hostileLeft = count
      queue.interposed = queue.interposition.isNeeded
    }
  }

  /// Sets the order in which the requests of a batch complete.
  public func setCompletionOrder(_ order: CompletionOrder) {
    core.queues.forEachQueue { queue in
      queue.interposition.setOrder(order, queue: queue.index)
      queue.interposed = queue.interposition.isNeeded
    }
  }

  /// Completes all requests of a queue that a rule holds or delays, oldest first.
  ///
  /// - Returns: How many.
  @discardableResult
  public func releaseHeld(queue: Int) -> Int {
    core.queues.withQueue(queue) { $0.releaseHeld() }
  }
}
