import VBlkDriver
import VBlkEmu

/// The devices of a world, a line for each queue: what they have fetched, and what they have used
/// that was not reaped yet.
struct DeviceSide {
  /// A queue, as the device that serves it knows it.
  struct Line {
    let disk: EmulatedDisk
    let queue: Int
    let tags: InFlightTags
  }

  /// A request that was fetched.
  struct Request: Equatable {
    let line: Int
    let handle: RequestHandle
    let operation: Int
    let type: UInt32
    let sector: UInt64
    let status: UInt8
    var isAnswered = false
  }

  let lines: [Line]
  /// Fetched and not used.
  private(set) var requests: [Request] = []
  /// Used and not reaped, by line, in their order.
  private(set) var unreaped: [[Request]]

  init(_ lines: [Line]) {
    self.lines = lines
    unreaped = lines.map { _ in [] }
  }

  /// The device of a line takes what it was told of.
  ///
  /// - Parameters:
  ///   - line: Which.
  ///   - status: How each request will end.
  ///   - operation: Whose the request in a slot is.
  /// - Returns: What was wrong, or nil.
  /// - Throws: What the emulator throws where the world itself is wrong.
  mutating func fetch(
    _ line: Int, status: () -> UInt8, operation: (InFlightTags, UInt16) -> Int?
  ) throws -> String? {
    let (disk, queue) = (lines[line].disk, lines[line].queue)
    guard disk.kickedQueues.contains(queue) else { return nil }
    while disk.available(queue: queue) > 0 {
      let status = status()
      disk.setFaults(status == 0 ? [] : [FaultRule(.status(status))])
      guard let handle = disk.fetch(queue: queue) else {
        return "the device refused a chain: \(disk.violations)"
      }
      let what = try disk.describe(handle)
      guard let operation = operation(lines[line].tags, what.head) else {
        return "a request of no operation was published"
      }
      requests.append(
        Request(
          line: line, handle: handle, operation: operation, type: what.type, sector: what.sector,
          status: status))
    }
    return nil
  }

  /// The device moves the data of a request and writes its status; the used entry follows.
  mutating func answer(_ index: Int) throws {
    try lines[requests[index].line].disk.transfer(requests[index].handle)
    try lines[requests[index].line].disk.writeStatus(requests[index].handle)
    requests[index].isAnswered = true
  }

  /// The device does what is left of a request, the used entry last.
  mutating func use(_ index: Int) throws {
    let request = requests.remove(at: index)
    try lines[request.line].disk.complete(request.handle)
    unreaped[request.line].append(request)
  }

  /// The owner of a line has reaped `count`.
  @discardableResult
  mutating func reaped(_ line: Int, _ count: Int) -> [Request] {
    let reaped = unreaped[line].prefix(count)
    unreaped[line].removeFirst(reaped.count)
    return Array(reaped)
  }

  /// The device of these lines was stopped.
  mutating func stop(_ stopped: [Int]) {
    requests.removeAll { stopped.contains($0.line) }
    for line in stopped { unreaped[line] = [] }
  }

  /// What the devices' further behaviour depends on.
  func fingerprint(_ add: (UInt64) -> Void) {
    let sorted = requests.sorted {
      ($0.line, $0.operation, $0.sector, $0.type) < ($1.line, $1.operation, $1.sector, $1.type)
    }
    for request in sorted + unreaped.joined() {
      add(request.sector)
      add(
        UInt64(request.line) << 48 | UInt64(request.operation) << 32 | UInt64(request.type) << 8
          | UInt64(request.status) << 1 | (request.isAnswered ? 1 : 0))
    }
    for line in unreaped { add(UInt64(requests.count) << 32 | UInt64(line.count)) }
  }
}
