internal import CHostIO
internal import Glibc
internal import Synchronization
internal import Virtio

/// What a queue and the registers both touch: status, interrupt status, vectors and their eventfds.
///
/// Everything is atomic, because queues raise interrupts and NEEDS_RESET without the register
/// file's lock. The eventfds change only with the locks of all queues held, so a queue never
/// signals one that its owner has closed.
///
/// Invariant: both pointers live as long as the disk.
@safe
struct DeviceSignals: @unchecked Sendable {
  private struct State: ~Copyable {
    let status = Atomic<UInt8>(0)
    let interruptStatus = Atomic<UInt8>(0)
    let generation = Atomic<UInt8>(0)
    let configVector = Atomic<UInt16>(VirtioPCI.noVector)
    /// Vectors that have an eventfd.
    let connected = Atomic<Int>(0)
    let enabledInSpace = Atomic<Bool>(false)
    let removed = Atomic<Bool>(false)
    /// The interrupt line's eventfd, and whether it waits to be unmasked.
    let line = Atomic<CInt>(-1)
    let lineMasked = Atomic<Bool>(false)
    /// A configuration change that waits for the end of a suspension.
    let deferred = Atomic<Bool>(false)
  }

  private let state: UnsafeMutablePointer<State>
  private let eventfds: UnsafeMutablePointer<Atomic<CInt>>
  let vectorCount: Int

  init(vectorCount: Int) {
    self.vectorCount = vectorCount
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
    unsafe eventfds = .allocate(capacity: max(vectorCount, 1))
    for vector in 0..<max(vectorCount, 1) { unsafe (eventfds + vector).initialize(to: Atomic(-1)) }
  }

  func deallocate() {
    unsafe state.deallocate()
    unsafe eventfds.deallocate()
  }

  /// The status register.
  var status: DeviceStatus {
    DeviceStatus(rawValue: unsafe state.pointee.status.load(ordering: .acquiring))
  }

  /// Whether a driver has set DRIVER_OK, also if the device is suspended since.
  var isStarted: Bool { !status.isDisjoint(with: [.driverOK, .suspend]) }

  func resetStatus() { unsafe state.pointee.status.store(0, ordering: .releasing) }

  func add(_ bits: DeviceStatus) {
    unsafe state.pointee.status.bitwiseOr(bits.rawValue, ordering: .acquiringAndReleasing)
  }

  func remove(_ bits: DeviceStatus) {
    unsafe state.pointee.status.bitwiseAnd(~bits.rawValue, ordering: .acquiringAndReleasing)
  }

  /// Whether the function has been pulled out.
  var removed: Bool { unsafe state.pointee.removed.load(ordering: .acquiring) }

  func remove() { unsafe state.pointee.removed.store(true, ordering: .releasing) }

  /// The configuration's generation; it counts modulo 256.
  var generation: UInt8 { unsafe state.pointee.generation.load(ordering: .acquiring) }

  func advanceGeneration() {
    unsafe state.pointee.generation.wrappingAdd(1, ordering: .acquiringAndReleasing)
  }

  /// The vector of configuration changes.
  var configVector: UInt16 {
    get { unsafe state.pointee.configVector.load(ordering: .relaxed) }
    nonmutating set { unsafe state.pointee.configVector.store(newValue, ordering: .relaxed) }
  }

  /// Whether the driver has set MSI-X's enable bit in configuration space itself.
  var enabledInSpace: Bool {
    get { unsafe state.pointee.enabledInSpace.load(ordering: .relaxed) }
    nonmutating set { unsafe state.pointee.enabledInSpace.store(newValue, ordering: .relaxed) }
  }

  /// Whether MSI-X is on, by the bus or by the driver; else the interrupt status byte is all there
  /// is.
  private var messageSignalled: Bool {
    unsafe state.pointee.connected.load(ordering: .relaxed) > 0 || enabledInSpace
  }

  /// Connects a vector, which exists, to an eventfd, or to none; the locks of all queues are held.
  func setEventfd(_ vector: Int, _ eventfd: CInt?) {
    let old = unsafe eventfds[vector].exchange(eventfd ?? -1, ordering: .relaxed)
    let change = (eventfd == nil ? 0 : 1) - (old < 0 ? 0 : 1)
    unsafe state.pointee.connected.wrappingAdd(change, ordering: .relaxed)
  }

  /// The interrupt status byte; reading clears it (virtio 1.2, 4.1.4.5).
  func takeInterruptStatus() -> UInt8 {
    unsafe state.pointee.interruptStatus.exchange(0, ordering: .acquiringAndReleasing)
  }

  /// Sets bits of the interrupt status byte again.
  func putBackInterruptStatus(_ bits: UInt8) { raise(bits) }

  func clearInterruptStatus() {
    unsafe state.pointee.interruptStatus.store(0, ordering: .releasing)
  }

  /// Tells the driver that a queue has used buffers.
  func raiseQueue(vector: UInt16) {
    if messageSignalled {
      signal(vector)
    } else {
      raise(InterruptStatus.queue)
    }
  }

  /// Tells the driver that the configuration has changed; the status bit goes first (4.1.4.5.1).
  /// While suspended that waits (virtio 1.4, 2.1.2).
  func raiseConfiguration() {
    if status.contains(.suspend) {
      unsafe state.pointee.deferred.store(true, ordering: .releasing)
      return
    }
    raise(InterruptStatus.configuration)
    if messageSignalled { signal(configVector) }
  }

  private func raise(_ bit: UInt8) {
    unsafe state.pointee.interruptStatus.bitwiseOr(bit, ordering: .acquiringAndReleasing)
    if !messageSignalled { assertLine() }
  }

  /// Tells what waited for the end of a suspension.
  func raiseDeferred() {
    if unsafe state.pointee.deferred.exchange(false, ordering: .acquiringAndReleasing) {
      raiseConfiguration()
    }
  }

  func forgetDeferred() { unsafe state.pointee.deferred.store(false, ordering: .releasing) }

  // The interrupt line (INTx) is a level: the bus signals it once and masks it, until it is
  // unmasked, and then again if the interrupt status has not been read.

  /// Connects the line to an eventfd, or to none; the locks of all queues are held.
  func setLine(_ eventfd: CInt?) {
    unsafe state.pointee.line.store(eventfd ?? -1, ordering: .relaxed)
    unsafe state.pointee.lineMasked.store(false, ordering: .releasing)
  }

  func unmaskLine() {
    unsafe state.pointee.lineMasked.store(false, ordering: .sequentiallyConsistent)
    if unsafe state.pointee.interruptStatus.load(ordering: .sequentiallyConsistent) != 0 {
      assertLine()
    }
  }

  private func assertLine() {
    let descriptor = unsafe state.pointee.line.load(ordering: .relaxed)
    guard descriptor >= 0,
      unsafe !state.pointee.lineMasked.exchange(true, ordering: .sequentiallyConsistent)
    else { return }
    signalEventfd(descriptor)
  }

  private func signalEventfd(_ descriptor: CInt) {
    var one: UInt64 = 1
    // A counter that is full has told the driver already, and a closed one is its owner's affair.
    unsafe _ = write(descriptor, &one, 8)
  }

  private func signal(_ vector: UInt16) {
    guard Int(vector) < vectorCount else { return }
    let descriptor = unsafe eventfds[Int(vector)].load(ordering: .relaxed)
    guard descriptor >= 0 else { return }
    signalEventfd(descriptor)
  }
}
