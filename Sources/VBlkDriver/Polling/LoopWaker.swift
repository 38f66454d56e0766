import CHostIO
import Glibc
import Synchronization

/// How a loop with nothing to do sleeps, and how those who bring it work wake it.
///
/// ```
/// loop                                     who brings work
/// 1 sleeping = true                        1 push                    release
/// 2 fence W, look at all inboxes           2 fence W, load sleeping
/// 3 nothing: wait on the eventfd           3 true: signal the eventfd
/// ```
/// One of the two sees the other: without fence W on either side a wake-up is lost, and the work
/// waits until the loop looks by itself, every `Limits.loopSleepMilliseconds`.
final class LoopWaker: Sendable {
  private let sleeping = Atomic<Bool>(false)
  private let descriptor: CInt

  /// - Throws: ``VBlkError`` where the system gives no eventfd.
  init() throws(VBlkError) {
    descriptor = chio_eventfd()
    guard descriptor >= 0 else {
      throw VBlkError(
        .system, "no eventfd for a poll loop: errno \(chio_errno())",
        remedy: "raise the limit of open files (ulimit -n)")
    }
  }

  deinit { chio_close(descriptor) }

  /// Wakes the loop if it sleeps or is about to; after the work was brought.
  func wake() {
    atomicMemoryFence(ordering: .sequentiallyConsistent)  // fence W
    if sleeping.load(ordering: .sequentiallyConsistent) { signal() }
  }

  /// Whether the loop sleeps, or is about to.
  var isAsleep: Bool { sleeping.load(ordering: .sequentiallyConsistent) }

  private func signal() {
    var one: UInt64 = 1
    unsafe _ = write(descriptor, &one, 8)
  }

  /// Sleeps until it is woken, or for a bounded time, unless there is something to do after all.
  func sleep(unless isWanted: () -> Bool) {
    sleeping.store(true, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)  // fence W
    if !isWanted() {
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      unsafe _ = Glibc.poll(&waiting, 1, Limits.loopSleepMilliseconds)
      var count: UInt64 = 0
      unsafe _ = read(descriptor, &count, 8)
    }
    sleeping.store(false, ordering: .sequentiallyConsistent)
  }
}
