internal import Histogram

/// What a bench measured: all that its reports say, and nothing of how it was measured.
struct BenchResult {
  /// One direction's transfers.
  struct Direction {
    var requests: UInt64 = 0
    var byteCount: UInt64 = 0
    /// Nanoseconds from the kick of a request to its completion.
    var latency = Histogram<UInt64>(
      highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)

    mutating func add(_ other: Direction) {
      requests += other.requests
      byteCount += other.byteCount
      latency.add(other.latency)
    }
  }

  /// The device string as it was given.
  var device: String
  /// How it is run: "emulated, inline, 1 queue of 128, split, indirect, event-idx".
  var way: String
  var pattern: BenchPattern
  var blockByteCount: Int
  var depth: Int
  var jobs: Int
  var queues: Int
  var seed: UInt64
  /// An optimised build says something of the driver; a debug build only of itself.
  var isDebugBuild: Bool
  var runtimeNanoseconds: UInt64 = 0
  var reads = Direction()
  var writes = Direction()
  var kicks: UInt64 = 0
  var suppressedKicks: UInt64 = 0
  var polls: UInt64 = 0
  var emptyPolls: UInt64 = 0

  var requests: UInt64 { reads.requests + writes.requests }

  /// Something per second of the run.
  func rate(_ count: UInt64) -> Double {
    runtimeNanoseconds == 0 ? 0 : Double(count) * 1e9 / Double(runtimeNanoseconds)
  }

  /// Something per I/O.
  func perRequest(_ count: UInt64) -> Double {
    requests == 0 ? 0 : Double(count) / Double(requests)
  }
}
