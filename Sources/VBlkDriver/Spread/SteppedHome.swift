package import DMAPool
import Synchronization

/// The home of a group, a step at a time: for the explorer of interleavings, which lets the other
/// members and the devices act between any two of them.
package final class SteppedHome: SteppedMember, @unchecked Sendable {  // one thread acts at a time
  private var home: SpreadHome
  /// What was issued, before the submitter's own drop.
  private var issued: (record: UInt32, block: BlockReference)?

  /// - Parameters:
  ///   - queue: The home's own queue.
  ///   - others: The other members.
  ///   - depth: Operations that can be in flight or wait to be taken.
  ///   - pause: Called between the steps of a part's end, on the thread that ends it.
  package init(
    _ queue: consuming Queue, with others: [SharedQueue], depth: Int, pause: @escaping SpreadPause
  ) {
    var options = PollGroup.Options()
    options.depth = depth
    options.partByteCount = 1
    home = PollGroup.makeHome(queue, with: others, options: options, pause: pause)
  }

  package func withQueue<Result>(_ body: (inout Queue) -> Result) -> Result { body(&home.queue) }

  // MARK: - Steps

  /// A submission up to the submitter's own drop: check, reserve, parts begun here and pushed.
  ///
  /// - Returns: Queued where ``drop()`` is to follow.
  package func issue(
    write: Bool, at offset: UInt64, _ buffer: consuming DMABuffer, tag: UInt64, durable: Bool
  ) -> Submission<DMABuffer> {
    let block = buffer.intoReference()
    let operation = write ? Operation.write : .read
    switch home.check(operation, at: offset, UInt64(block.byteCount), .buffer(block)) {
    case .ended(let result): return .completed(result, DMABuffer(block))
    case .refused(let code): return .refused(code, DMABuffer(block))
    case .accepted(let count):
      guard
        let record = home.issue(
          operation, offset..<(offset + count), .buffer(block), tag: tag, durable: durable)
      else { return .refused(.busy, DMABuffer(block)) }
      issued = (record, block)
      return .queued
    }
  }

  /// The submitter's own drop.
  ///
  /// - Returns: Completed where it was the last one.
  package func drop() -> Submission<DMABuffer> {
    guard let (record, block) = issued else { preconditionFailure("nothing was issued") }
    issued = nil
    guard let result = home.dropOwn(record) else { return .queued }
    return .completed(result, DMABuffer(block))
  }

  /// Takes what the other members have finished, and ends its stage.
  package func takeInbox() { home.takeInbox() }

  /// The operation that ended first.
  package func takeDone() -> Completion? { home.takeDone() }

  // MARK: - What can be done

  /// The record of what was issued and waits for ``drop()``.
  package var issuedRecord: UInt32? { issued?.record }
  package var hasInbox: Bool { !home.table.inbox.isEmpty }
  package var hasDone: Bool { home.doneFirst != BioRecord.none }
  /// Operations accepted and not taken.
  package var inFlight: Int { home.inFlight }
  /// Nothing is in flight, waits, or is reserved.
  package var isIdle: Bool {
    home.queue.isIdle && home.inFlight == 0 && issued == nil && !hasInbox
      && home.queue.state.reservedCount == 0
  }
  /// Bytes of the group.
  package var byteCount: UInt64 { home.byteCount }

  // MARK: - Oracles

  /// What is wrong with the books of the queue, or with the counts of the spread dios.
  package func brokenInvariant() -> String? {
    if let broken = home.queue.brokenInvariant() { return broken }
    for index in doneRecords where home.table.shared[index].count.load(ordering: .relaxed) != 0 {
      return "spread dio \(index) is done, and its count is not 0"
    }
    return nil
  }

  /// Done and not taken, in their order.
  private var doneRecords: [UInt32] {
    var done: [UInt32] = []
    var index = home.doneFirst
    while index != BioRecord.none {
      done.append(index)
      index = home.table.records[index].next
    }
    return done
  }

  /// What home's further behaviour depends on.
  package func fingerprint(_ add: (UInt64) -> Void) {
    home.queue.fingerprint(add)
    let table = home.table
    for index in table.shared.indices {
      add(
        UInt64(table.shared[index].count.load(ordering: .relaxed)) << 8
          | UInt64(table.shared[index].code))
      add(
        table.records[index].tag << 2 | (table.records[index].isDurable ? 2 : 0)
          | (table.records[index].isFlushing ? 1 : 0))
      for member in 0..<table.memberCount { add(table.part(index, member).value.doneBytes) }
      let reserved = table.records[index].reserved
      add(reserved == BioRecord.none ? 0 : UInt64(home.queue.dios[reserved].code) + 1)
    }
    add(UInt64(table.inbox.indexes(add)))
    for index in doneRecords { add(UInt64(index)) }
    add(UInt64(home.inFlight) << 8 | UInt64(issued.map { $0.record + 1 } ?? 0))
  }
}
