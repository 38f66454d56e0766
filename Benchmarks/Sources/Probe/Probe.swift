import VBlkDriver

/// What `instructions.py` counts, on the inline emulator with a null store: each form of the API in
/// a function of its own, so that callgrind tells them apart.
///
/// Usage: Probe FORMAT FORM ROUNDS; FORMAT is split-direct, split-indirect, packed-direct or
/// packed-indirect, FORM a case of ``Form``.
@main
struct Probe {
  static let depth = 32

  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4, let form = Form(rawValue: arguments[2]),
      let rounds = Int(arguments[3])
    else {
      fatalError(
        "usage: Probe FORMAT \(Form.allCases.map(\.rawValue).joined(separator: "|")) ROUNDS")
    }
    let checksum = try form.run(format: arguments[1], rounds: rounds)
    // One by one: a longer line would be put together in other ways than a short one.
    print(rounds * form.operations)
    print(checksum)
  }
}

/// A form of the API.
enum Form: String, CaseIterable {
  /// Batches of 32, polled with a closure.
  case read, write
  /// Batches of 32 reads, taken by `next()`.
  case next
  /// One read at a time: submit, kick, poll.
  case single
  /// One synchronous read at a time.
  case sync
  /// Looks that find nothing.
  case emptyPoll = "empty-poll"
  case emptyNext = "empty-next"
  /// Reads into 8 segments, one at a time.
  case readv
  /// 8 reads of 8 bios each.
  case dio
  /// Reads of 1000 bytes at 100, through a bounce block, one at a time.
  case bounce
  /// The client's own share: the loop of ``read`` on a queue that does nothing.
  case stub

  /// Operations a round.
  var operations: Int {
    switch self {
    case .read, .write, .next, .stub: Probe.depth
    case .emptyPoll, .emptyNext: 1024
    case .dio: 8
    case .single, .sync, .readv, .bounce: 1
    }
  }

  func run(format: String, rounds: Int) throws -> UInt64 {
    var client = try makeClient(format)
    guard self != .stub else {
      var stub = StubQueue(depth: Probe.depth)
      for _ in 0..<rounds { work(&stub, &client) }
      return client.checksum
    }
    var queue = try client.device.makeQueue()
    var list = SegmentList(segmentCapacity: 8)
    if self == .readv { while client.count > 0 { list.append(client.pop()) } }
    for _ in 0..<rounds {
      switch self {
      case .read, .dio: workRead(&queue, &client, count: operations)
      case .write: workWrite(&queue, &client)
      case .next: workNext(&queue, &client)
      case .single, .bounce: workSingle(&queue, &client, isAligned: self == .single)
      case .sync: try workSync(&queue, &client)
      case .emptyPoll: workEmptyPoll(&queue, operations)
      case .emptyNext: workEmptyNext(&queue, operations)
      case .readv: list = workVectored(&queue, &client, list)
      case .stub: break
      }
    }
    check(queue.statistics, rounds: rounds)
    return client.checksum
  }

  private func makeClient(_ format: String) throws -> Client {
    switch self {
    case .dio: try Client.make(format: format, byteCount: 32 << 10, count: 8, cuts: true)
    case .readv: try Client.make(format: format, count: 8)
    case .bounce: try Client.make(format: format, byteCount: 1000, count: 1)
    case .single, .sync: try Client.make(format: format, count: 1)
    default: try Client.make(format: format)
    }
  }

  /// The queue must have done what is counted.
  private func check(_ counted: QueueStatistics, rounds: Int) {
    let expected = rounds * operations
    let (requests, bytes): (Int, Int) =
      switch self {
      case .emptyPoll, .emptyNext: (0, 0)
      case .dio: (8 * expected, 32768 * expected)
      case .readv: (expected, 32768 * expected)
      // Both ends through bounce blocks, the block between them at once.
      case .bounce: (3 * expected, 3 * 512 * expected)
      default: (expected, 4096 * expected)
      }
    guard counted.requests == UInt64(requests), counted.bytes == UInt64(bytes) else {
      fatalError("\(requests) requests of \(bytes) bytes expected, counted: \(counted)")
    }
  }
}
