import VBlk

/// Keeps operations of a block each in flight on one queue, and holds each to its promise: it ends
/// exactly once.
struct Load: ~Copyable {
  var queue: Queue
  private let device: Device
  private var isOut: [Bool]
  private(set) var submitted = 0
  private(set) var ended = 0
  private(set) var succeeded = 0
  /// How operations ended that did not succeed.
  private(set) var failures: [VBlkError.Code: Int] = [:]
  /// With what the queue refuses for good.
  private(set) var refusal: VBlkError.Code?

  init(_ device: Device, depth: Int) throws {
    queue = try device.makeQueue()
    self.device = device
    isOut = [Bool](repeating: false, count: depth)
  }

  var inFlight: Int { submitted - ended }

  /// Writes what belongs at `offset` where there is a free place; false where there is none now.
  mutating func write(_ seed: UInt64, at offset: UInt64) throws -> Bool {
    guard refusal == nil, let place = isOut.firstIndex(of: false) else { return false }
    var buffer = try device.memory.allocate(byteCount: Pattern.blockByteCount)
    Pattern.fill(&buffer, seed: seed, at: offset)
    switch queue.submitWrite(at: offset, from: buffer, tag: UInt64(place)) {
    case .queued:
      isOut[place] = true
      submitted += 1
      return true
    case .completed(let result, _):
      fail("a write ended at once: \(result)")
    case .refused(let code, _):
      if code != .busy, code != .resetting { refusal = code }
      return false
    }
  }

  /// Reaps what has ended.
  mutating func reap() {
    queue.kick()
    while let done = queue.next() {
      let place = Int(done.tag)
      guard isOut[place] else { fail("the operation at place \(place) ended twice") }
      isOut[place] = false
      ended += 1
      if let code = done.result.code {
        failures[code, default: 0] += 1
      } else {
        guard done.result.byteCount == Pattern.blockByteCount else {
          fail("a write of a block ended with \(done.result.byteCount) bytes")
        }
        succeeded += 1
      }
    }
  }

  /// Waits until nothing is in flight.
  mutating func drain() {
    let limit = nanoseconds() + 90_000_000_000
    while inFlight > 0 {
      reap()
      if nanoseconds() > limit { fail("\(inFlight) operations have not ended in 90 s") }
    }
  }

  var summary: String {
    let reasons = failures.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", ")
    return "submitted \(submitted) ended \(ended) succeeded \(succeeded) failed [\(reasons)]"
  }
}
