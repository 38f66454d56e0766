import Logging
import Synchronization
import Virtio

/// What happens to a device by itself.
public enum DeviceEvent: Equatable, Sendable {
  /// The capacity has changed to this many bytes; queues follow within their next slow tick.
  case resized(byteCount: UInt64)
  /// The device said that only a reset mends it (virtio 1.2, 2.1.2); the driver resets it.
  case needsReset
  /// The function is gone: its registers read all ones. Nothing follows.
  case removed
}

/// Who wants to know of events, and which were told already.
final class DeviceEvents: Sendable {
  private let listeners = Mutex<[Int: AsyncStream<DeviceEvent>.Continuation]>([:])
  private let next = Atomic<Int>(0)
  /// Told since the device was started last.
  private let toldNeedsReset = Atomic<Bool>(false)
  private let toldRemoved = Atomic<Bool>(false)

  deinit {
    listeners.withLock { all in
      for listener in all.values { listener.finish() }
    }
  }

  func stream() -> AsyncStream<DeviceEvent> {
    let number = next.wrappingAdd(1, ordering: .relaxed).newValue
    // A listener that doesn't listen loses the oldest.
    let (stream, listener) = AsyncStream.makeStream(
      of: DeviceEvent.self, bufferingPolicy: .bufferingNewest(Limits.bufferedEvents))
    listener.onTermination = { [weak self] _ in
      self?.listeners.withLock { $0[number] = nil }
    }
    listeners.withLock { $0[number] = listener }
    return stream
  }

  func tell(_ event: DeviceEvent) {
    switch event {
    case .resized: break
    case .needsReset:
      guard !toldNeedsReset.exchange(true, ordering: .relaxed) else { return }
    case .removed:
      guard !toldRemoved.exchange(true, ordering: .relaxed) else { return }
    }
    // Outside the lock: what a listener does may come back here.
    for listener in listeners.withLock({ Array($0.values) }) {
      listener.yield(event)
      if event == .removed { listener.finish() }
    }
  }

  func deviceRestarted() { toldNeedsReset.store(false, ordering: .relaxed) }
}

extension Device {
  /// What happens to the device by itself, from now on; each call makes a stream of its own, which
  /// ends when the function is gone or the device is given up.
  ///
  /// Events are noticed by the queues' slow ticks, while somebody polls, and by
  /// ``lookForChanges()``, which is for whoever waits on ``configurationDescriptor``.
  public func events() -> AsyncStream<DeviceEvent> { happenings.stream() }

  /// The eventfd that a configuration change signals, or nil where the device was opened without
  /// ``DeviceOptions/interrupts``. Without MSI-X it is the queues' too. It is the device's: watch
  /// it, read it empty, don't close it.
  public var configurationDescriptor: CInt? { interrupts?.configDescriptor }

  /// Looks at the device's status and configuration: tells of a new capacity, resets a device that
  /// asks for it, stops with one that is gone. One read of two registers where nothing has changed.
  public func lookForChanges() {
    acknowledgeLine()
    let epoch = epochWord.load(ordering: .acquiring)
    if let failure = health(in: epoch) {
      return stop(failure, because: "it was found in that state")
    }
    _ = refreshedCapacity()
  }

  /// Takes the interrupt line back, where interrupts come by it: its cause is read, and it may
  /// signal again.
  func acknowledgeLine() {
    guard let interrupts, interrupts.isLine else { return }
    _ = transport.takeInterruptStatus()
    interrupts.unmaskLine()
  }

  /// What is wrong with the device, if its status says so and `epoch` is still the present one: a
  /// status read while another thread resets the device says nothing.
  func health(in epoch: UInt32) -> VBlkError.Code? {
    guard phase.load(ordering: .acquiring) == Phase.running.rawValue else { return nil }
    let status = transport.status
    guard phase.load(ordering: .acquiring) == Phase.running.rawValue,
      epochWord.load(ordering: .acquiring) == epoch
    else { return nil }
    // Asked after the status: a function that the system takes may lose its DRIVER_OK first.
    if status == .removed || transport.function.departure != nil {
      happenings.tell(.removed)
      return .removed
    }
    if status.contains(.needsReset) {
      happenings.tell(.needsReset)
      return .reset
    }
    return status.contains(.driverOK) ? nil : .reset
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
    setCapacity(read.value << Sector.shift)
    return read.value << Sector.shift
  }

  /// Takes a capacity over that the device says, and tells of it where it is another.
  func setCapacity(_ bytes: UInt64) {
    guard capacity.exchange(bytes, ordering: .relaxed) != bytes else { return }
    options.logger.notice("\(info.name) has \(bytes) bytes now")
    happenings.tell(.resized(byteCount: bytes))
  }
}
