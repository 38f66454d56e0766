import Synchronization

/// A queue that a ``PollLoop`` owns, as other threads see it: clients reach it by ports, and a
/// ``PollGroup`` spreads operations over several.
///
/// It may be used on any thread, and after the loop has stopped too: then what is sent to it ends
/// with `closed`.
public final class SharedQueue: Sendable {
  /// The queue's device.
  public let device: Device
  /// Which of the device's queues it is.
  public let index: Int
  /// Requests that it can have in flight.
  public let depth: Int

  /// Parts of spread dios for this queue.
  let parts = Inbox<SpreadPart>()
  let waker: LoopWaker
  /// Ports that the loop has not taken over yet; `version` moves with each.
  private let added = Mutex(Added())
  private let version = Atomic<Int>(0)

  private struct Added {
    var ports: [PortMemory] = []
    var count = 0
    var isClosed = false
  }

  init(_ queue: borrowing Queue, waker: LoopWaker) {
    device = queue.device
    index = queue.index
    depth = queue.depth
    self.waker = waker
  }

  /// Makes a port to the queue.
  ///
  /// - Parameter depth: Operations that the port can have in flight, a power of two.
  /// - Returns: The port, for one thread.
  /// - Throws: ``VBlkError`` `.closed` where the loop has stopped.
  public func makePort(depth: Int = 32) throws(VBlkError) -> Port {
    precondition(depth > 0 && depth & (depth - 1) == 0, "a port's depth is a power of two")
    let memory = PortMemory(capacity: depth)
    let isTaken = added.withLock { added in
      if !added.isClosed { added.ports.append(memory) }
      return !added.isClosed
    }
    guard isTaken else {
      throw VBlkError(
        .closed, "the poll loop of queue \(index) of \(device.info.name) has stopped",
        remedy: "give the queue to a loop that runs")
    }
    version.wrappingAdd(1, ordering: .sequentiallyConsistent)
    waker.wake()
    return Port(memory, to: self)
  }

  // MARK: - The loop's

  /// How many ports were made.
  var portVersion: Int { version.load(ordering: .sequentiallyConsistent) }

  func takePorts() -> [PortMemory] {
    added.withLock { added in
      defer { added.ports = [] }
      return added.ports
    }
  }

  /// No port is made after this; those that were, and were not taken over, are handed out.
  func closePorts() -> [PortMemory] {
    added.withLock { added in
      defer { added.ports = [] }
      added.isClosed = true
      return added.ports
    }
  }
}
