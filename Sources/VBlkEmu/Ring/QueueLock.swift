internal import CHostIO
internal import Glibc
internal import Synchronization

/// The lock of one queue: whoever serves the queue holds it, and so does the bus when it changes
/// what a queue relies on (mappings, interrupts, registers, reset).
///
/// A batch costs one exchange. It spins, then yields: contention is a driver that rings one queue
/// from two threads, or the control plane. Order: the register file's lock first, then queues, by
/// index; never the other way.
///
/// Invariant: `word` lives as long as the disk, on a cache line of its own, outside the queue's
/// struct: others look at it while one thread has the struct to itself.
@safe
struct QueueLock {
  private let word: UnsafeMutablePointer<Atomic<UInt32>>
  /// Doorbells of a threaded disk, which don't take the lock.
  private let counter: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    let line = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
    unsafe word = line.bindMemory(to: Atomic<UInt32>.self, capacity: 1)
    unsafe word.initialize(to: Atomic(0))
    unsafe counter = (line + 8).bindMemory(to: Atomic<UInt64>.self, capacity: 1)
    unsafe counter.initialize(to: Atomic(0))
  }

  @inline(__always)
  func lock() {
    if unsafe word.pointee.exchange(1, ordering: .acquiring) != 0 { wait() }
  }

  @inline(never)
  private func wait() {
    var spins = 0
    while unsafe word.pointee.exchange(1, ordering: .acquiring) != 0 {
      spins += 1
      if spins < 100 { chio_pause() } else { sched_yield() }
    }
  }

  @inline(__always)
  func unlock() { unsafe word.pointee.store(0, ordering: .releasing) }

  @inline(__always)
  func countKick() { unsafe counter.pointee.wrappingAdd(1, ordering: .relaxed) }
  var kicks: UInt64 { unsafe counter.pointee.load(ordering: .relaxed) }

  func deallocate() { unsafe UnsafeMutableRawPointer(word).deallocate() }
}
