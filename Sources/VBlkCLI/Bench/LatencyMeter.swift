internal import Histogram

/// Counts the completions of one direction. The clock stands still within a batch, so that many
/// have the same latency one after another: those go into the histogram at once.
struct LatencyMeter {
  private var direction = BenchResult.Direction()
  private var latency: UInt64 = 0
  private var count: UInt64 = 0

  @inline(__always)
  mutating func add(_ nanoseconds: UInt64, byteCount: UInt64) {
    direction.byteCount &+= byteCount
    if nanoseconds != latency {
      record()
      latency = nanoseconds
    }
    count &+= 1
  }

  /// What was counted.
  consuming func finish() -> BenchResult.Direction {
    record()
    return direction
  }

  @inline(never)
  private mutating func record() {
    guard count > 0 else { return }
    direction.requests &+= count
    _ = direction.latency.record(latency, count: count)
    count = 0
  }
}
