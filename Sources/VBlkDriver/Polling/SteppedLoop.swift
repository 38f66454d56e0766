/// A queue on its loop without a thread, a step at a time: for the explorer of interleavings, which
/// decides when each step of the loop's round is taken.
///
/// One thread at a time, but for the steps of a part's end, between which others may act.
package final class SteppedLoop: SteppedMember, @unchecked Sendable {  // one thread acts at a time
  private var loop: LoopQueue
  /// How others reach it.
  package let shared: SharedQueue

  /// - Throws: ``VBlkError`` where the system has no eventfd.
  package init(_ queue: consuming Queue) throws(VBlkError) {
    loop = LoopQueue(queue, waker: try LoopWaker())
    shared = loop.shared
  }

  package func withQueue<Result>(_ body: (inout Queue) -> Result) -> Result { body(&loop.queue) }

  // MARK: - Steps

  /// Takes the parts that were pushed, and begins those for which there are slots.
  package func beginParts() {
    loop.takeParts()
    loop.beginParts()
  }

  /// Takes one request of each port, if there is a slot.
  ///
  /// - Returns: Whether one was taken.
  package func takeRequest() -> Bool { loop.takeRequests(max: 1) > 0 }

  /// Polls the queue for one completion, and hands it to its port.
  package func deliverOne() { loop.reap(max: 1) }

  // MARK: - What can be done

  /// Whether a part waits, and can be begun or ended.
  package var mayBeginParts: Bool {
    (loop.waiting != nil || !loop.shared.parts.isEmpty) && canBegin
  }

  /// Whether a request waits, and can be begun or ended.
  package var mayTakeRequest: Bool { loop.ports.isWanted && canBegin }

  /// A stopped queue refuses, which needs no slot.
  private var canBegin: Bool {
    loop.queue.freeCount > 0 && loop.queue.hasSlot || !loop.queue.isRunning
  }

  /// Nothing is in flight here, and nothing was brought.
  package var isIdle: Bool { loop.queue.isIdle && loop.isQuiet }

  /// The client's tag of an operation of a port.
  package func clientTag(_ tag: UInt64) -> UInt64 { loop.ports.clientTag(tag) }

  /// Takes over the ports that were made.
  package func adoptPorts() { loop.takeRequests(max: 0) }

  // MARK: - Oracles

  package func brokenInvariant() -> String? { loop.queue.brokenInvariant() }

  /// What the loop's further behaviour depends on.
  package func fingerprint(_ add: (UInt64) -> Void) {
    loop.queue.fingerprint(add, naming: { loop.ports.clientTag($0) })
    add(UInt64(Place.indexes(from: loop.waiting, add)))
    add(UInt64(loop.shared.parts.indexes(add)))
  }
}

extension Place where Element == SpreadPart {
  /// Adds the record of each part of a list.
  ///
  /// - Returns: How many there are.
  static func indexes(from first: Place<SpreadPart>?, _ add: (UInt64) -> Void) -> Int {
    var count = 0
    var left = first
    while let part = left {
      add(UInt64(part.value.parent.value.index))
      left = part.value.link
      count += 1
    }
    return count
  }
}

extension Inbox where Entry == SpreadPart {
  /// Adds the record of each part that stands here; nobody else may act meanwhile.
  func indexes(_ add: (UInt64) -> Void) -> Int { Place.indexes(from: first, add) }
}

extension Inbox where Entry == SpreadShared {
  /// Adds each record that stands here; nobody else may act meanwhile.
  func indexes(_ add: (UInt64) -> Void) -> Int {
    var count = 0
    var left = first
    while let entry = left {
      add(UInt64(entry.value.index))
      left = entry.value.link
      count += 1
    }
    return count
  }
}
