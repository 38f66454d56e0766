internal import CHostIO
internal import Glibc
internal import Synchronization

/// The thread of a threaded disk: it polls all queues, and when nothing has come for a while it
/// asks for kicks and sleeps on an eventfd.
///
/// No wake-up is lost: `sleeping` is set before kicks are asked for, and the rings are looked at
/// once more after that (fence K). A driver that sees that a kick is wanted therefore sees
/// `sleeping`. It also wakes by itself now and then, so a driver that forgets a kick is slow, not
/// stuck.
final class DeviceThread: Sendable {
  private let queues: QueueSet
  private let eventfd: CInt
  private let sleeping = Atomic<Bool>(false)
  private let stopping = Atomic<Bool>(false)
  private let thread = Mutex<pthread_t?>(nil)

  init(_ queues: QueueSet) throws(EmulatorError) {
    self.queues = queues
    eventfd = CHostIO.eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
    guard eventfd >= 0 else { throw DeviceThread.refusal("eventfd", errno) }
    let error = start()
    guard error == 0 else {
      close(eventfd)
      throw DeviceThread.refusal("pthread_create", error)
    }
  }

  private static func refusal(_ call: String, _ error: CInt) -> EmulatorError {
    EmulatorError(
      .system, "no device thread: \(call) failed with errno \(error)",
      remedy: "raise the limits of this process, or run the disk inline")
  }

  private func start() -> CInt {
    var identifier = pthread_t()
    // The thread has a reference of its own, which it gives back when it ends.
    let context = unsafe Unmanaged.passRetained(Body(self)).toOpaque()
    let error = unsafe pthread_create(&identifier, nil, runDeviceThread, context)
    if error != 0 {
      unsafe Unmanaged<Body>.fromOpaque(context).release()
    } else {
      thread.withLock { $0 = identifier }
    }
    return error
  }

  /// Ends the thread and waits for it; what was taken is completed first.
  func stop() {
    stopping.store(true, ordering: .sequentiallyConsistent)
    wake()
    let identifier = thread.withLock { $0.take() }
    if let identifier {
      _ = pthread_join(identifier, nil)
      close(eventfd)
    }
  }

  /// A doorbell rang.
  @inline(__always)
  func ring(_ index: Int) {
    queues.countKick(index)
    if sleeping.load(ordering: .sequentiallyConsistent) { wake() }
  }

  /// Wakes the thread, asleep or about to be.
  func wake() {
    var one: UInt64 = 1
    unsafe _ = write(eventfd, &one, 8)
  }

  /// What the thread runs.
  fileprivate func run() {
    var idle = 0
    while !stopping.load(ordering: .relaxed) {
      if poll() {
        idle = 0
        continue
      }
      idle += 1
      if idle < Limits.eagerPolls { chio_pause() } else { sched_yield() }
      if idle >= Limits.idlePolls {
        sleepUnlessPending()
        idle = 0
      }
    }
  }

  private func poll() -> Bool {
    var worked = false
    for index in 0..<queues.count {
      if queues.withQueue(index, { $0.pollOnce() }) { worked = true }
    }
    return worked
  }

  private func sleepUnlessPending() {
    sleeping.store(true, ordering: .sequentiallyConsistent)
    var pending = false
    for index in 0..<queues.count {
      if queues.withQueue(index, { $0.askForKicks() }) { pending = true }
    }
    if !pending, !stopping.load(ordering: .sequentiallyConsistent) {
      var waiting = pollfd(fd: eventfd, events: Int16(POLLIN), revents: 0)
      unsafe _ = Glibc.poll(&waiting, 1, Limits.sleepMilliseconds)
      var count: UInt64 = 0
      unsafe _ = read(eventfd, &count, 8)
    }
    sleeping.store(false, ordering: .sequentiallyConsistent)
    queues.forEachQueue { $0.wantNoKicks() }
  }

  /// What the thread is started with.
  fileprivate final class Body {
    let thread: DeviceThread
    init(_ thread: DeviceThread) { self.thread = thread }
  }
}

private func runDeviceThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context = unsafe context {
    unsafe Unmanaged<DeviceThread.Body>.fromOpaque(context).takeRetainedValue().thread.run()
  }
  return nil
}

extension DeviceQueue {
  /// Serves what is available now, without asking for kicks.
  ///
  /// - Returns: Whether there was anything.
  mutating func pollOnce() -> Bool {
    guard live, checkMapped(), let count = pending(), count > 0 else { return false }
    if !isPacked { prefetch(min(count, Limits.prefetched)) }
    // Shown in grains, so that the driver reaps the first while the others are served.
    var left = count
    while left > Limits.publishGrain, live {
      serveBatch(Limits.publishGrain)
      publish()
      left &-= Limits.publishGrain
    }
    serveBatch(left)
    finishBatch(wantKicks: false)
    return true
  }

  /// Asks the driver for kicks before the thread sleeps.
  ///
  /// - Returns: Whether something came meanwhile, so that it must not sleep.
  mutating func askForKicks() -> Bool {
    guard live, ringsMapped else { return false }
    armKicks(true)
    // Fence K: the driver that published before it saw the request is seen here.
    chio_fence_full()
    return (pending() ?? 0) > 0
  }

  /// Tells the driver that kicks are a waste.
  mutating func wantNoKicks() {
    if live, ringsMapped { armKicks(false) }
  }
}
