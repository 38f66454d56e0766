import CHostIO
import Glibc
import Synchronization

/// A thread that owns queues and polls them, for clients on other threads.
///
/// A loop with nothing in flight and nothing brought to it sleeps, and is woken by who brings work;
/// otherwise it polls, and lets other threads run now and then. It ends by ``stop()``, at the
/// latest when its last reference goes: each operation ends once, then its queues go back to their
/// devices.
public final class PollLoop: Sendable {
  /// Where a loop's thread runs.
  public enum Processor: Sendable {
    /// Wherever the system puts it.
    case any
    /// On this one.
    case number(Int)
    /// On those of the NUMA node near the device, where the system names one.
    case near(Device)
  }

  private let core: Core

  /// Starts the thread.
  ///
  /// - Parameter processor: Where it runs.
  /// - Throws: ``VBlkError`` `.invalidArgument` where there is no such processor, `.system` where
  ///   there is no thread to be had.
  public init(on processor: Processor = .any) throws(VBlkError) {
    core = Core(waker: try LoopWaker())
    try core.start(on: processor)
  }

  deinit { core.stop() }

  /// Gives the loop a queue.
  ///
  /// - Returns: How other threads reach it.
  public func add(_ queue: consuming sending Queue) -> SharedQueue { core.add(queue) }

  /// Stops: accepts nothing more, ends what is in flight by completion until the deadline, then by
  /// a reset; what was not begun ends with `closed`. Returns when the thread has ended. A second
  /// call does nothing.
  public func stop() { core.stop() }
}

extension PollLoop {
  /// What the thread and the handle share; the thread has a reference of its own.
  fileprivate final class Core: Sendable {
    private let waker: LoopWaker
    private let stopping = Atomic<Bool>(false)
    /// How often something was put into `control`; so that a round needs no lock.
    private let version = Atomic<Int>(0)
    private let control = Mutex(Control())

    private struct Control {
      /// Queues that the thread has not taken over yet.
      var added: [Place<LoopQueue>] = []
      var thread: pthread_t?
      var isStarted = false
      var isStopped = false
      var startCode: CInt = 0
    }

    init(waker: LoopWaker) { self.waker = waker }

    func start(on processor: Processor) throws(VBlkError) {
      var identifier = pthread_t()
      let context = unsafe Unmanaged.passRetained(Start(self, processor)).toOpaque()
      let error = unsafe pthread_create(&identifier, nil, runPollLoop, context)
      guard error == 0 else {
        unsafe Unmanaged<Start>.fromOpaque(context).release()
        throw VBlkError(
          .system, "no thread for a poll loop: errno \(error)",
          remedy: "raise the limit of threads (ulimit -u)")
      }
      control.withLock { $0.thread = identifier }
      while !control.withLock({ $0.isStarted }) { chio_yield() }
      let code = control.withLock { $0.startCode }
      guard code == 0 else {
        stop()
        throw VBlkError(
          .invalidArgument, "a poll loop can't run on \(processor): errno \(code)",
          remedy: "choose a processor that this process may use (taskset -p)")
      }
    }

    func add(_ queue: consuming Queue) -> SharedQueue {
      let place = Place(moving: LoopQueue(queue, waker: waker))
      let shared = place.value.shared
      let isTaken = control.withLock { control in
        if !control.isStopped { control.added.append(place) }
        return !control.isStopped
      }
      if !isTaken { end([place]) }
      version.wrappingAdd(1, ordering: .releasing)
      waker.wake()
      return shared
    }

    func stop() {
      stopping.store(true, ordering: .sequentiallyConsistent)
      waker.wake()
      let thread = control.withLock { $0.thread.take() }
      if let thread { pthread_join(thread, nil) }
      // Queues that came when the thread had ended.
      end(
        control.withLock { control in
          control.isStopped = true
          defer { control.added = [] }
          return control.added
        })
    }

    // MARK: - The thread

    func run(on processor: Processor) {
      let code = Self.bind(to: processor)
      control.withLock { control in
        control.startCode = code
        control.isStarted = true
      }
      var queues: [Place<LoopQueue>] = []
      var seen = 0
      var idle = 0
      while !stopping.load(ordering: .relaxed) {
        let current = version.load(ordering: .acquiring)
        if current != seen {
          seen = current
          control.withLock { control in
            queues += control.added
            control.added = []
          }
        }
        var worked = false
        for queue in queues where queue.value.round() { worked = true }
        idle = worked ? 0 : idle + 1
        rest(queues, idle: &idle, seen: seen)
      }
      end(queues)
    }

    private func rest(_ queues: [Place<LoopQueue>], idle: inout Int, seen: Int) {
      guard idle > 0 else { return }
      guard idle >= Limits.loopIdleRounds, queues.allSatisfy({ $0.value.isQuiet }) else {
        // Whoever brings the next work, or the device, may need this processor.
        if idle % Limits.loopRoundsPerYield == 0 { chio_yield() } else { chio_pause() }
        return
      }
      idle = 0
      waker.sleep(unless: {
        stopping.load(ordering: .sequentiallyConsistent)
          || version.load(ordering: .sequentiallyConsistent) != seen
          || queues.contains { !$0.value.isQuiet }
      })
    }

    private func end(_ queues: [Place<LoopQueue>]) {
      for queue in queues {
        queue.value.close()
        _ = queue.take()
      }
    }

    private static func bind(to processor: Processor) -> CInt {
      switch processor {
      case .any: return 0
      case .number(let number):
        return chio_pin_thread(CInt(clamping: number)) == 0 ? 0 : chio_errno()
      case .near(let device):
        // Without a node, or with one that the system has taken away, anywhere is as near.
        if let node = device.info.numaNode { _ = NUMANode.runThread(on: node) }
        return 0
      }
    }
  }

  /// What the thread is started with.
  fileprivate final class Start {
    let core: Core
    let processor: Processor

    init(_ core: Core, _ processor: Processor) {
      self.core = core
      self.processor = processor
    }
  }
}

private func runPollLoop(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context = unsafe context {
    let start = unsafe Unmanaged<PollLoop.Start>.fromOpaque(context).takeRetainedValue()
    start.core.run(on: start.processor)
  }
  return nil
}
