import CHostIO
@_exported public import DMAPool
import Logging
@_exported public import PCI
public import Synchronization
import Virtio

/// A virtio-blk device: opened, described, its queues handed out, reset, closed.
///
/// Control plane: calls may allocate, lock, log and take their time; they are safe on any thread.
/// A queue keeps its device alive; the device gives its function back when the last of them dies.
public final class Device: Sendable {
  /// What the device is.
  public let info: DeviceInfo
  /// DMA memory mapped for the device, on its NUMA node: where buffers come from.
  public let memory: DMAArena

  let locks = BlockLocks()
  let deadlineNanoseconds: UInt64
  /// Moves once with every stop; queues compare it with their own at each kick and look.
  @usableFromInline let epochWord = Atomic<UInt32>(0)
  private let transport: VirtioPCITransport
  /// DMA memory of the driver's own: rings, request headers, bounce blocks.
  public let ringMemory: DMAArena
  let interrupts: Interrupts?
  private let options: DeviceOptions
  private let phase = Atomic<UInt8>(Phase.running.rawValue)
  private let capacity: Atomic<UInt64>
  private let configGeneration: Atomic<UInt8>
  private let stopCodeValue = Atomic<UInt8>(0)
  private let quarantined = Atomic<Bool>(false)
  /// Operations that the device answered with UNSUPP, a bit each.
  private let turnedOff = Atomic<UInt8>(0)
  private let control: Mutex<Control>

  private enum Phase: UInt8 { case running, stopped, dead }

  private struct Control {
    var queues: [QueueMemory] = []
    var isHandedOut: [Bool] = []
    /// A closed queue with nothing in flight can be handed out again; another only after a reset.
    var isClean: [Bool] = []
    var isSwept: [Bool] = []
    var stoppedAt: UInt64 = 0
    var isClosed = false
    var lastCause = ""
  }

  /// Opens the function: reset, negotiation, queues, DRIVER_OK (virtio 1.2, 3.1).
  ///
  /// The device takes the function over, and closes it also when opening fails.
  ///
  /// - Throws: ``VBlkError`` with what failed, the values seen, and what to do.
  public init(_ function: any PCIFunction, options: DeviceOptions = DeviceOptions())
    throws(VBlkError)
  {
    do {
      let transport = try VirtioPCITransport(function)
      let opened = try Self.bringUp(transport, options)
      self.transport = transport
      self.options = options
      memory = opened.memory
      ringMemory = opened.rings
      interrupts = opened.interrupts
      info = opened.info
      capacity = Atomic(opened.info.capacityBytes)
      configGeneration = Atomic(opened.generation)
      control = Mutex(
        Control(
          queues: opened.queues, isHandedOut: opened.queues.map { _ in false },
          isClean: opened.queues.map { _ in true }, isSwept: opened.queues.map { _ in true }))
    } catch {
      function.close()
      throw error
    }
    deadlineNanoseconds = options.deadlineNanoseconds
    options.logger.info("opened \(info.name): \(info.capacityBytes) bytes, depth \(info.depth)")
  }

  deinit {
    if phase.load(ordering: .relaxed) == Phase.running.rawValue, !transport.resetDevice() {
      quarantine()
    }
    transport.function.close()
  }

  // MARK: - Queues

  /// Hands out the next queue that is free.
  ///
  /// - Throws: ``VBlkError`` `.busy` where all are handed out, `.closed` after ``close()``.
  public func makeQueue() throws(VBlkError) -> Queue {
    let chosen: (memory: QueueMemory, doorbell: Doorbell, epoch: UInt32)?
    chosen = try control.withLock { control throws(VBlkError) in
      guard !control.isClosed else {
        throw VBlkError(.closed, "\(info.name) is closed", remedy: "open it again")
      }
      let index = control.queues.indices.first { !control.isHandedOut[$0] && control.isClean[$0] }
      guard let index, let doorbell = control.queues[index].doorbell else { return nil }
      // While the device stands still it counts as swept: it has nothing that could be in flight.
      control.isHandedOut[index] = true
      return (control.queues[index], doorbell, epochWord.load(ordering: .acquiring))
    }
    guard let chosen else {
      throw VBlkError(
        .busy, "all \(info.queueSizes.count) queues of \(info.name) are handed out",
        remedy: "open the device with more queues (it has \(info.availableQueues)), or share one")
    }
    return Queue(
      memory: chosen.memory, device: self, doorbell: chosen.doorbell, epoch: chosen.epoch)
  }

  /// Takes a queue back. With nothing in flight it can be handed out again at once.
  func takeBack(index: Int, isClean: Bool) {
    control.withLock { control in
      control.isHandedOut[index] = false
      control.isClean[index] = isClean
    }
    sweptIfLast(index: index)
  }

  /// Refuses new queues and submissions, stops the device, and ends all that is in flight with
  /// `closed` at its queues' next calls.
  public func close() {
    control.withLock { $0.isClosed = true }
    stop(.closed, because: "closed")
  }

  /// Resets the device: what is in flight ends with `reset` at its queues' next calls, and the
  /// device runs again when all of them have made one.
  public func reset() { stop(.reset, because: "asked for") }

  // MARK: - Memory

  /// Maps an arena of the user's for this device, or another device's ``memory``.
  public func attach(_ arena: DMAArena) throws(VBlkError) {
    do { try arena.attach(to: transport.function.dma) } catch { throw VBlkError(error) }
    mapped.withLock { _ = $0.insert(arena.number) }
  }

  /// Registers the user's own pages: locks them and maps them once, so that slices of them are read
  /// and written with no copy. They stay until `RegisteredMemory.unregister()`.
  ///
  /// - Parameters:
  ///   - memory: The pages; any start and length, whole pages around it are taken.
  ///   - holes: What to do about pages that are not there; an operation over one is refused with
  ///     `fault`.
  /// - Returns: The registration, from which slices are taken.
  /// - Throws: ``VBlkError`` where the pages can't be locked or mapped.
  public func register(
    _ memory: UnsafeMutableRawBufferPointer, holes: HolePolicy = .refuse
  ) throws(VBlkError) -> RegisteredMemory {
    do {
      let registered = try unsafe RegisteredMemory(memory, holes: holes)
      try registered.attach(to: transport.function.dma)
      mapped.withLock { _ = $0.insert(registered.number) }
      return registered
    } catch {
      throw VBlkError(error)
    }
  }

  /// Ends the mapping; refused while buffers of the arena are out.
  public func detach(_ arena: DMAArena) throws(VBlkError) {
    do { try arena.detach(from: transport.function.dma) } catch { throw VBlkError(error) }
    mapped.withLock { _ = $0.remove(arena.number) }
  }

  private let mapped = Mutex<Set<UInt32>>([])

  func isMapped(_ arena: UInt32) -> Bool { mapped.withLock { $0.contains(arena) } }

  // MARK: - What queues ask

  var capacityBytes: UInt64 { capacity.load(ordering: .relaxed) }

  var isQuarantined: Bool { quarantined.load(ordering: .relaxed) }

  /// A device that does not know an operation which it offered is not asked again.
  func turnOff(_ operation: Operation) {
    guard operation == .discard || operation == .writeZeroes else { return }
    turnedOff.bitwiseOr(1 << operation.rawValue, ordering: .relaxed)
  }

  func isOff(_ operation: Operation) -> Bool {
    turnedOff.load(ordering: .relaxed) >> operation.rawValue & 1 == 1
  }

  func now() -> UInt64 { options.clock() }

  /// What is wrong with the device, if its status says so and `epoch` is still the present one: a
  /// status read while another thread resets the device says nothing.
  func health(in epoch: UInt32) -> VBlkError.Code? {
    guard phase.load(ordering: .acquiring) == Phase.running.rawValue else { return nil }
    let status = transport.status
    guard phase.load(ordering: .acquiring) == Phase.running.rawValue,
      epochWord.load(ordering: .acquiring) == epoch
    else { return nil }
    if status == .removed { return .removed }
    if status.contains(.needsReset) || !status.contains(.driverOK) { return .reset }
    return nil
  }

  /// The capacity where it has changed since the queues were told, read again when the
  /// configuration's generation has moved.
  func refreshedCapacity() -> UInt64? {
    guard transport.configGeneration != configGeneration.load(ordering: .relaxed) else {
      return capacityBytes
    }
    guard let read = try? transport.stableConfig({ transport.configField(0, width: 8) }),
      read.value <= UInt64(Int.max) >> Sector.shift
    else { return nil }
    configGeneration.store(read.generation, ordering: .relaxed)
    capacity.store(read.value << Sector.shift, ordering: .relaxed)
    return read.value << Sector.shift
  }
}

// MARK: - Reset

extension Device {
  /// With what operations end that a stop found in flight.
  var stopCode: VBlkError.Code {
    VBlkError.Code(rawValue: stopCodeValue.load(ordering: .acquiring)) ?? .reset
  }

  /// With what submissions are refused while the device does not run.
  var refusalCode: VBlkError.Code {
    if control.withLock({ $0.isClosed }) { return .closed }
    return phase.load(ordering: .acquiring) == Phase.dead.rawValue ? .removed : .resetting
  }

  /// Stops the device; one thread wins, the others return at once. The device is still before
  /// anything in flight is ended (rule 10): status reads 0 first, then the epoch moves.
  func stop(_ code: VBlkError.Code, because cause: String) {
    guard
      phase.compareExchange(
        expected: Phase.running.rawValue, desired: Phase.stopped.rawValue,
        ordering: .acquiringAndReleasing
      ).exchanged
    else { return }
    options.logger.warning("stopping \(info.name): \(cause)")
    stopCodeValue.store(code.rawValue, ordering: .releasing)
    let confirmed = transport.resetDevice()
    if !confirmed {
      quarantine()
      phase.store(Phase.dead.rawValue, ordering: .releasing)
      options.logger.error(
        "\(info.name) does not confirm the reset; its DMA memory is kept from reuse")
    }
    control.withLock { control in
      control.stoppedAt = now()
      control.lastCause = cause
      for index in control.isSwept.indices { control.isSwept[index] = !control.isHandedOut[index] }
      epochWord.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }
    restartIfAllSwept()
  }

  /// A queue has ended everything that it had in flight in `epoch`.
  func swept(index: Int, epoch: UInt32) {
    guard epoch == epochWord.load(ordering: .acquiring) else { return }
    sweptIfLast(index: index)
  }

  private func sweptIfLast(index: Int) {
    control.withLock { $0.isSwept[index] = true }
    restartIfAllSwept()
  }

  /// Restarts without the queues that have not swept for a second; they stay out until the next
  /// reset, and are named.
  func leaveOutUnswept() {
    let late = control.withLock { control in
      now() - control.stoppedAt > Limits.sweepNanoseconds && control.isSwept.contains(false)
    }
    guard late, phase.load(ordering: .acquiring) == Phase.stopped.rawValue else { return }
    restart()
  }

  private func restartIfAllSwept() {
    guard phase.load(ordering: .acquiring) == Phase.stopped.rawValue else { return }
    guard control.withLock({ !$0.isSwept.contains(false) && !$0.isClosed }) else { return }
    restart()
  }

  /// Brings the device up again with the features, limits and queues that it had.
  private func restart() {
    control.withLock { control in
      let epoch = epochWord.load(ordering: .acquiring)
      guard phase.load(ordering: .acquiring) == Phase.stopped.rawValue else { return }
      do throws(VBlkError) {
        let again = try Negotiation(transport, declining: options.declinedFeatures)
        guard again.accepted == info.accepted, again.limits == info.limits else {
          throw VBlkError(
            .deviceUnavailable, "\(info.name) came back with other features or limits",
            remedy: "open it again")
        }
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
        capacity.store(again.config.capacity << Sector.shift, ordering: .relaxed)
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
  private func quarantine() {
    quarantined.store(true, ordering: .releasing)
    keepForEver(memory)
    keepForEver(ringMemory)
    control.withLock { control in
      for queue in control.queues { keepForEver(queue) }
    }
  }
}

/// Takes a reference that is never given back.
private func keepForEver(_ object: AnyObject) { _ = unsafe Unmanaged.passRetained(object) }

// MARK: - Bring-up

extension Device {
  private struct Opened {
    let info: DeviceInfo
    let generation: UInt8
    let memory: DMAArena
    let rings: DMAArena
    let queues: [QueueMemory]
    let interrupts: Interrupts?
  }

  private static func bringUp(
    _ transport: VirtioPCITransport, _ options: DeviceOptions
  ) throws(VBlkError) -> Opened {
    precondition(options.queues > 0, "a device is opened with at least one queue")
    precondition(options.depth > 0, "a queue has a depth of at least 1")
    precondition(options.bounceBlocks > 0, "a queue has at least one bounce block")
    do throws(VBlkError) {
      return try setUp(transport, options)
    } catch {
      transport.addStatus(.failed)
      throw error
    }
  }

  private static func setUp(
    _ transport: VirtioPCITransport, _ options: DeviceOptions
  ) throws(VBlkError) -> Opened {
    let function = transport.function
    do { try function.setBusMaster(true) } catch { throw VBlkError(error) }
    let agreed = try Negotiation(transport, declining: options.declinedFeatures)
    let available = try agreed.availableQueues(transport)
    guard options.queues <= available else {
      throw VBlkError(
        .invalidArgument,
        "\(function.name) has \(available) queues, \(options.queues) were asked for",
        remedy: "ask for 1 to \(available)")
    }
    let layouts = try (0..<options.queues).map { index throws(VBlkError) in
      try layout(of: index, transport, agreed, options)
    }
    let rings: DMAArena
    let memory: DMAArena
    do {
      let bounce =
        options.bounceBlocks * max(Limits.bounceBlockBytes, agreed.limits.logicalBlockSize)
      let ringBytes = layouts.reduce(0) { $0 + $1.byteCount + bounce + 64 * 1024 }
      rings = try DMAArena(byteCount: ringBytes, node: function.dma.numaNode, pages: options.pages)
      try rings.attach(to: function.dma)
      memory = try DMAArena(
        byteCount: options.memoryByteCount, node: function.dma.numaNode, pages: options.pages,
        layout: options.layout)
      try memory.attach(to: function.dma)
    } catch {
      throw VBlkError(error)
    }
    // A failure from here on must not free memory that the device knows of.
    var isUp = false
    defer {
      if !isUp { try? function.setBusMaster(false) }
      withExtendedLifetime((rings, memory)) {}
    }
    let queues = try layouts.enumerated().map { index, layout throws(VBlkError) in
      try QueueMemory(
        index: index, layout: layout, arena: rings, bounceBlocks: options.bounceBlocks,
        blockSize: agreed.limits.logicalBlockSize)
    }
    let interrupts =
      options.interrupts ? try Interrupts(function, queues: options.queues) : nil
    try connectConfiguration(transport, interrupts)
    for queue in queues { try enable(queue, transport, interrupts) }
    transport.addStatus(.driverOK)
    isUp = true
    report(agreed, function.name, options)
    return Opened(
      info: describe(transport, agreed, available, layouts),
      generation: agreed.config.generation, memory: memory, rings: rings, queues: queues,
      interrupts: interrupts)
  }

  /// Gives the device a queue, with its vector where interrupts are wanted.
  private static func enable(
    _ queue: QueueMemory, _ transport: VirtioPCITransport, _ interrupts: Interrupts?
  ) throws(VBlkError) {
    queue.prepare()
    queue.install(
      try transport.enableQueue(
        queue.index, size: queue.layout.size, addresses: queue.addresses,
        vector: interrupts?.vector(ofQueue: queue.index) ?? VirtioPCI.noVector))
  }

  /// Vector 0 for configuration changes, read back (virtio 1.2, 4.1.5.1.2).
  private static func connectConfiguration(
    _ transport: VirtioPCITransport, _ interrupts: Interrupts?
  ) throws(VBlkError) {
    let accepted = transport.setConfigVector(interrupts == nil ? VirtioPCI.noVector : 0)
    guard accepted || interrupts == nil else {
      throw VBlkError(
        .deviceUnavailable,
        "\(transport.function.name) refused vector 0 for configuration changes",
        remedy: "poll it: open it without interrupts")
    }
  }

  /// Says once what a device offers and can't mean.
  private static func report(_ agreed: Negotiation, _ name: String, _ options: DeviceOptions) {
    if agreed.accepted.contains(.sizeMax), agreed.config.sizeMax == 0 {
      options.logger.notice("\(name) offers size_max 0; taken as no limit")
    }
    if agreed.accepted.contains(.segMax), agreed.config.segMax == 0 {
      options.logger.notice("\(name) offers seg_max 0; taken as one segment")
    }
  }

  private static func layout(
    of index: Int, _ transport: VirtioPCITransport, _ agreed: Negotiation,
    _ options: DeviceOptions
  ) throws(VBlkError) -> QueueLayout {
    let most = transport.maximumQueueSize(index)
    let isPacked = agreed.accepted.contains(.ringPacked)
    guard QueueLayout.isLegal(size: most, isPacked: isPacked) else {
      throw VBlkError(
        .deviceUnavailable,
        "queue \(index) of \(transport.function.name) has size \(most), not "
          + "\(isPacked ? "a number" : "a power of two") from 1 to \(SplitLayout.maximumSize)",
        remedy: "the device is faulty")
    }
    let isIndirect = agreed.accepted.contains(.indirectDescriptors)
    let wanted = min(most, options.depth * (isIndirect ? 1 : 3))
    var size = isPacked ? wanted : 1
    while size < wanted { size *= 2 }
    size = min(size, most)
    guard
      let layout = QueueLayout(
        size: size, isPacked: isPacked, isIndirect: isIndirect,
        maxSegments: agreed.limits.maxSegments)
    else {
      throw VBlkError(
        .deviceUnavailable,
        "queue \(index) of \(transport.function.name) has \(most) entries, too few for header, "
          + "data and status without INDIRECT_DESC",
        remedy: "give it at least 4 entries (QEMU: queue-size=128), or INDIRECT_DESC")
    }
    return layout
  }

  private static func describe(
    _ transport: VirtioPCITransport, _ agreed: Negotiation, _ available: Int,
    _ layouts: [QueueLayout]
  ) -> DeviceInfo {
    DeviceInfo(
      name: transport.function.name, capacityBytes: agreed.config.capacity << Sector.shift,
      isReadOnly: agreed.offered.contains(.readOnly), offered: agreed.offered,
      accepted: agreed.accepted, limits: agreed.limits, availableQueues: available,
      hasVolatileCache: agreed.hasVolatileCache, queueSizes: layouts.map(\.size),
      depth: layouts[0].slotCount, numaNode: transport.function.dma.numaNode)
  }
}
