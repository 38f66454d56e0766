internal import Histogram

/// A bench's result for people and for programs, in fio's words.
enum BenchReport {
  static let schema = "vblk.bench/1"
  /// fio's default list.
  static let percentiles = [
    1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99,
  ]

  static func text(_ result: BenchResult) -> String {
    var lines: [String] = []
    if result.isDebugBuild {
      lines.append("DEBUG BUILD: these figures say nothing of the driver; use `make build`")
    }
    lines.append("\(result.device): \(result.way)")
    lines.append(
      "rw=\(result.pattern.rawValue), bs=\(result.blockByteCount), iodepth=\(result.depth), "
        + "numjobs=\(result.jobs), queues=\(result.queues), seed=\(result.seed)")
    for (name, direction) in directions(result) {
      lines += text(name, direction, of: result)
    }
    lines.append(
      "per I/O: \(Decimal.text(result.perRequest(result.kicks), digits: 3)) kicks "
        + "(\(Decimal.text(result.perRequest(result.suppressedKicks), digits: 3)) suppressed), "
        + "\(Decimal.text(result.perRequest(result.polls), digits: 3)) polls "
        + "(\(Decimal.text(result.perRequest(result.emptyPolls), digits: 3)) empty)")
    return lines.joined(separator: "\n") + "\n"
  }

  static func json(_ result: BenchResult) -> String {
    JSONWriter.object { root in
      root.value("schema", schema)
      root.value("device", result.device)
      root.value("way", result.way)
      root.value("debug_build", result.isDebugBuild)
      root.value("rw", result.pattern.rawValue)
      root.value("bs", result.blockByteCount)
      root.value("iodepth", result.depth)
      root.value("numjobs", result.jobs)
      root.value("queues", result.queues)
      root.value("seed", result.seed)
      root.value("runtime_ns", result.runtimeNanoseconds)
      for (name, direction) in directions(result) {
        root.object(name) { add(direction, of: result, to: &$0) }
      }
      root.value("kicks", result.kicks)
      root.value("suppressed_kicks", result.suppressedKicks)
      root.value("polls", result.polls)
      root.value("empty_polls", result.emptyPolls)
    }
  }

  private static func directions(
    _ result: BenchResult
  ) -> [(name: String, direction: BenchResult.Direction)] {
    (result.pattern.reads ? [("read", result.reads)] : [])
      + (result.pattern.writes ? [("write", result.writes)] : [])
  }

  private static func text(
    _ name: String, _ direction: BenchResult.Direction, of result: BenchResult
  ) -> [String] {
    let bytes = result.rate(direction.byteCount)
    let latency = direction.latency
    let percentiles = self.percentiles.map { percentile in
      "\(Decimal.text(percentile, digits: 2))th=[\(latency.valueAtPercentile(percentile))]"
    }
    var lines = [
      "\(name): IOPS=\(Decimal.text(result.rate(direction.requests), digits: 0)), "
        + "BW=\(Decimal.text(bytes / 1_048_576, digits: 1))MiB/s "
        + "(\(Decimal.text(bytes / 1e6, digits: 1))MB/s), "
        + "\(direction.requests) requests in \(result.runtimeNanoseconds / 1_000_000)msec",
      "  clat (nsec): min=\(direction.requests == 0 ? 0 : latency.min), max=\(latency.max), "
        + "avg=\(Decimal.text(latency.mean, digits: 1)), "
        + "stdev=\(Decimal.text(latency.stdDeviation, digits: 1))",
      "  clat percentiles (nsec):",
    ]
    for start in stride(from: 0, to: percentiles.count, by: 4) {
      let row = percentiles[start..<min(start + 4, percentiles.count)]
      lines.append("   | " + row.joined(separator: ", "))
    }
    return lines
  }

  private static func add(
    _ direction: BenchResult.Direction, of result: BenchResult, to object: inout JSONWriter
  ) {
    let latency = direction.latency
    object.value("total_ios", direction.requests)
    object.value("io_bytes", direction.byteCount)
    object.value("iops", result.rate(direction.requests))
    object.value("bw_bytes", UInt64(result.rate(direction.byteCount)))
    object.object("clat_ns") { clat in
      clat.value("min", direction.requests == 0 ? 0 : latency.min)
      clat.value("max", latency.max)
      clat.value("mean", whole(latency.mean))
      clat.value("stddev", whole(latency.stdDeviation))
      clat.value("N", latency.totalCount)
      clat.object("percentile") { list in
        for percentile in percentiles {
          list.value(
            Decimal.text(percentile, digits: 6), latency.valueAtPercentile(percentile))
        }
      }
    }
  }

  private static func whole(_ value: Double) -> UInt64 {
    value.isFinite && value > 0 ? UInt64(value.rounded()) : 0
  }
}
