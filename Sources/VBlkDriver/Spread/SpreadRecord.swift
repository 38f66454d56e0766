import Synchronization

/// What the threads of a spread dio share: its count and its error, on a cache line of their own.
/// All else of the dio is home's.
///
/// The count starts at 1, the submitter's. Home takes a part's reference before it pushes the part;
/// whoever carries the part out stores its bytes, records its error and drops the reference, in
/// this order. Who brings the count to 0 owns the dio alone and hands it home by the inbox; after a
/// drop that was not the last neither the dio nor the part is touched (DESIGN §2, rules 1, 2 and
/// 11).
struct SpreadShared: ~Copyable, InboxEntry {
  let count = Atomic<UInt32>(0)
  /// The first error, 0 if there is none; later ones do not replace it.
  private let codeValue = Atomic<UInt8>(0)
  /// Which of the table's records it is.
  let index: UInt32
  let home: Inbox<SpreadShared>
  /// Where the explorer of interleavings lets other threads act; nil otherwise.
  let pause: SpreadPause?
  var link: Place<SpreadShared>?
  private let padding: (UInt64, UInt64) = (0, 0)

  init(index: UInt32, home: Inbox<SpreadShared>, pause: SpreadPause?) {
    self.index = index
    self.home = home
    self.pause = pause
  }

  /// Begins a stage, by its one owner; the count is the submitter's.
  func beginStage() { count.store(1, ordering: .relaxed) }

  func clearError() { codeValue.store(0, ordering: .relaxed) }

  var code: UInt8 { codeValue.load(ordering: .relaxed) }

  func takeReference() {
    let before = count.wrappingAdd(1, ordering: .relaxed).oldValue
    precondition(before > 0, "a reference is taken from at least 1")
  }

  func record(_ code: UInt8) {
    _ = codeValue.compareExchange(expected: 0, desired: code, ordering: .relaxed)
  }

  /// - Returns: Whether it was the last: the caller owns the dio. Else it is gone for the caller.
  func drop() -> Bool {
    let left = count.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
    precondition(left != .max, "a spread dio's count fell below 0")
    return left == 0
  }
}

/// A part of a spread dio: what one member of the group is asked to do, and how many bytes it did.
/// Home fills it before the push; from there to its drop it belongs to the member's thread.
struct SpreadPart: ~Copyable, InboxEntry {
  let parent: Place<SpreadShared>
  var link: Place<SpreadPart>?
  var source = DioSource.none
  var place = SourcePlace()
  /// First byte on the member's device.
  var start: UInt64 = 0
  var byteCount: UInt64 = 0
  /// The part's own word, stored before its drop; the owner of 0 sums them.
  var doneBytes: UInt64 = 0
  var operation = Operation.read
  private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

  init(parent: Place<SpreadShared>) { self.parent = parent }
}

extension Place where Element == SpreadPart {
  /// Ends the part: bytes, error, drop; the last drop hands the dio home. Nothing of it may be
  /// touched afterwards.
  func end(byteCount: UInt64, code: UInt8) {
    let parent = value.parent
    value.doneBytes = byteCount
    if code != 0 { parent.value.record(code) }
    parent.value.pause?(.recorded)
    guard parent.value.drop() else { return }
    parent.value.pause?(.dropped)
    let isTaken = parent.value.home.push(parent)
    precondition(isTaken, "home waits for its spread dios before it closes")
  }
}

/// Between which steps of a part's end other threads may act.
package enum SpreadStep: Sendable {
  /// Its bytes and its error are there, its reference is still held.
  case recorded
  /// It was the last, and the dio is not yet handed home.
  case dropped
}

/// Called at each such place.
package typealias SpreadPause = @Sendable (SpreadStep) -> Void

/// What only home knows of a spread dio.
struct SpreadRecord: ~Copyable {
  var source = DioSource.none
  var tag: UInt64 = 0
  /// Bytes that the data's parts transferred, once that stage has ended.
  var doneBytes: UInt64 = 0
  /// Whether a FLUSH follows the data, and whether it is under way.
  var isDurable = false
  var isFlushing = false
  /// Volumes that it touches, a bit each.
  var volumes: UInt64 = 0
  /// The dio that keeps home's slot for the FLUSH, else `BioRecord.none`.
  var reserved = BioRecord.none
  /// Next free record, or the one that ended next.
  var next: UInt32

  init(next: UInt32) { self.next = next }
}

/// A group's spread dios: a fixed number of records, and a part for each member in each of them.
final class SpreadTable: @unchecked Sendable {  // home's thread, but for what the records share
  let inbox = Inbox<SpreadShared>()
  let shared: Table<SpreadShared>
  let records: Table<SpreadRecord>
  let memberCount: Int
  private let parts: Table<SpreadPart>

  init(capacity: Int, members: Int, pause: SpreadPause? = nil) {
    precondition(
      MemoryLayout<SpreadShared>.stride == 64, "what threads share must be one cache line")
    precondition(
      MemoryLayout<SpreadPart>.stride == 128, "a part must share no cache line with another")
    let home = inbox
    let shared = Table<SpreadShared>(count: capacity) {
      SpreadShared(index: $0, home: home, pause: pause)
    }
    self.shared = shared
    records = Table(count: capacity) {
      SpreadRecord(next: $0 + 1 < capacity ? $0 + 1 : BioRecord.none)
    }
    memberCount = members
    parts = Table(count: capacity * members) {
      SpreadPart(parent: shared.place($0 / UInt32(members)))
    }
  }

  deinit {
    parts.free()
    records.free()
    shared.free()
  }

  /// The part of `member` in the dio of record `index`.
  func part(_ index: UInt32, _ member: Int) -> Place<SpreadPart> {
    parts.place(index * UInt32(memberCount) + UInt32(member))
  }
}
