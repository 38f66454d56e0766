import Synchronization

/// What a client asks a loop's queue to do: trivial, so that a ring can hold it.
struct PortRequest {
  var operation = Operation.read
  var isDurable = false
  var mayUnmap = false
  var tag: UInt64 = 0
  var offset: UInt64 = 0
  /// Bytes of an operation without memory; those of the others are their source's.
  var byteCount: UInt64 = 0
  var source = DioSource.none
}

/// A position that one thread writes and another reads, on a cache line of its own.
struct PortPosition: ~Copyable {
  let value = Atomic<UInt64>(0)
  /// Of the client's position: the client has gone.
  let isAbandoned = Atomic<Bool>(false)
  private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
}

/// The two rings between a client and a loop: requests one way, completions the other. Each has one
/// writer and one reader, and `capacity` places, a credit each: an operation takes one when it is
/// submitted and gives it back when its completion is taken, so that neither ring can overflow.
///
/// ```
/// client                                     loop
/// 1 request in its place                     1 load requested             acquire P
/// 2 requested = n             release P      2 the request, its place is free
/// 3 fence W, asleep? wake it                 3 … completion in its place
/// 4 load completed            acquire Q      4 completed = n              release Q
/// 5 the completion
/// ```
/// `requested` has a bit that closes it: the loop sets it when it ends, and what the client had not
/// published by then is still the client's. Positions count up; places are their low bits.
struct PortRings {
  private let requests: Table<PortRequest>
  private let completions: Table<KeptCompletion>
  private let positions: Table<PortPosition>

  private var closedBit: UInt64 { 1 << 63 }

  init(capacity: Int) {
    requests = Table(count: capacity) { _ in PortRequest() }
    completions = Table(count: capacity) { _ in
      KeptCompletion(tag: 0, result: IOResult(success: 0), source: .none)
    }
    precondition(MemoryLayout<PortPosition>.stride == 64, "a position has its own cache line")
    positions = Table(count: 2) { _ in PortPosition() }
  }

  func free() {
    requests.free()
    completions.free()
    positions.free()
  }

  var capacity: Int { requests.count }

  private func place(_ position: UInt64) -> Int { Int(position & UInt64(requests.count - 1)) }

  func request(at position: UInt64) -> PortRequest { requests[place(position)] }

  func completion(at position: UInt64) -> KeptCompletion { completions[place(position)] }

  // MARK: - The client's steps

  func write(_ request: PortRequest, at position: UInt64) { requests[place(position)] = request }

  /// Makes the requests before `position` the loop's; false where the loop has closed the ring.
  func publish(from old: UInt64, to position: UInt64) -> Bool {
    positions[0].value.compareExchange(
      expected: old, desired: position, successOrdering: .releasing,  // P
      failureOrdering: .relaxed
    ).exchanged
  }

  /// Completions before this are the client's.
  var completed: UInt64 { positions[1].value.load(ordering: .acquiring) }  // Q

  func abandon() { positions[0].isAbandoned.store(true, ordering: .sequentiallyConsistent) }

  // MARK: - The loop's steps

  /// Requests before this are the loop's.
  var requested: UInt64 { positions[0].value.load(ordering: .acquiring) & ~closedBit }  // P

  func push(_ completion: KeptCompletion) {
    let position = positions[1].value.load(ordering: .relaxed)
    completions[place(position)] = completion
    positions[1].value.store(position &+ 1, ordering: .releasing)  // Q
  }

  /// Nothing is taken from the client after this: what it has published is the loop's to end.
  func close() { positions[0].value.bitwiseOr(closedBit, ordering: .acquiringAndReleasing) }

  var isAbandoned: Bool { positions[0].isAbandoned.load(ordering: .sequentiallyConsistent) }

  /// As ``requested``, for a loop that is about to sleep (fence W).
  var requestedBeforeSleep: UInt64 {
    positions[0].value.load(ordering: .sequentiallyConsistent) & ~closedBit
  }
}

/// Owns a port's rings: the client and the loop hold it, the last of them frees them.
final class PortMemory: @unchecked Sendable {  // `taken` is written once, by the client's deinit
  let rings: PortRings
  /// Completions before this were taken when the client went.
  var taken: UInt64 = 0

  init(capacity: Int) { rings = PortRings(capacity: capacity) }

  deinit {
    // Nobody took these: their memory goes back to its arenas.
    var position = taken
    let completed = rings.completed
    while position < completed {
      rings.completion(at: position).source.release()
      position += 1
    }
    rings.free()
  }
}
