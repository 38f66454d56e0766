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
  let transport: VirtioPCITransport
  /// DMA memory of the driver's own: rings, request headers, bounce blocks.
  public let ringMemory: DMAArena
  let interrupts: Interrupts?
  let happenings = DeviceEvents()
  let options: DeviceOptions
  let phase = Atomic<UInt8>(Phase.running.rawValue)
  let capacity: Atomic<UInt64>
  let configGeneration: Atomic<UInt8>
  let stopCodeValue = Atomic<UInt8>(0)
  let quarantined = Atomic<Bool>(false)
  /// Operations that the device answered with UNSUPP, a bit each.
  private let turnedOff = Atomic<UInt32>(0)
  let cache: CacheState
  /// Held while a configuration field is written, or the device reset.
  let writingConfiguration = Mutex(())
  let control: Mutex<Control>

  enum Phase: UInt8 { case running, stopping, stopped, dead, suspended }

  struct Control {
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
      cache = CacheState(
        isVolatile: info.hasVolatileCache, isSwitchable: info.accepted.contains(.configWriteCache))
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
    let last = phase.load(ordering: .relaxed)
    let isStill = last == Phase.stopped.rawValue || last == Phase.dead.rawValue
    if !isStill, !transport.resetDevice() {
      quarantine()
    }
    // Vectors point to eventfds of ours, and memory is unmapped by whoever still has it: the
    // function lets go of the first before it is closed, and of all memory by being closed.
    interrupts?.disconnect()
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
    guard operation.isRange || operation == .lifetime else { return }
    turnedOff.bitwiseOr(1 << operation.rawValue, ordering: .relaxed)
  }

  func isOff(_ operation: Operation) -> Bool {
    turnedOff.load(ordering: .relaxed) >> operation.rawValue & 1 == 1
  }

  func now() -> UInt64 { options.clock() }
}
