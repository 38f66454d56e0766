import Histogram
import Testing

@testable import VBlkCLI

@Suite("Bench report")
struct BenchReportTests {
  /// 1,000 reads of 4 KiB in a millisecond, latencies 1 to 1,000 ns; 50 kicks, 10 of which the
  /// device did not want.
  private func result(pattern: BenchPattern = .randread, isDebug: Bool = false) -> BenchResult {
    var result = BenchResult(
      device: "emu:256M,null", way: "emulated, inline", pattern: pattern, blockByteCount: 4096,
      depth: 32, jobs: 1, queues: 1, seed: 7, isDebugBuild: isDebug)
    result.runtimeNanoseconds = 1_000_000
    result.reads.requests = 1_000
    result.reads.byteCount = 4_096_000
    for value in 1...1_000 as ClosedRange<UInt64> { _ = result.reads.latency.record(value) }
    result.kicks = 50
    result.suppressedKicks = 10
    result.polls = 2_000
    result.emptyPolls = 500
    return result
  }

  @Test("speaks fio's words")
  func text() {
    #expect(
      BenchReport.text(result()) == """
        emu:256M,null: emulated, inline
        rw=randread, bs=4096, iodepth=32, numjobs=1, queues=1, seed=7
        read: IOPS=1000000, BW=3906.2MiB/s (4096.0MB/s), 1000 requests in 1msec
          clat (nsec): min=1, max=1000, avg=500.5, stdev=288.7
          clat percentiles (nsec):
           | 1.00th=[10], 5.00th=[50], 10.00th=[100], 20.00th=[200]
           | 30.00th=[300], 40.00th=[400], 50.00th=[500], 60.00th=[600]
           | 70.00th=[700], 80.00th=[800], 90.00th=[900], 95.00th=[950]
           | 99.00th=[990], 99.50th=[995], 99.90th=[999], 99.95th=[1000]
           | 99.99th=[1000]
        per I/O: 0.050 kicks (0.010 suppressed), 2.000 polls (0.500 empty)

        """)
  }

  @Test("a debug build is named in the first line")
  func debugBuild() {
    #expect(BenchReport.text(result(isDebug: true)).hasPrefix("DEBUG BUILD"))
    #expect(!BenchReport.text(result()).contains("DEBUG"))
  }

  @Test("has both directions where both were asked for, also without a request")
  func mixed() {
    let text = BenchReport.text(result(pattern: .randrw))
    #expect(text.contains("\nread: IOPS=1000000"))
    #expect(text.contains("\nwrite: IOPS=0, BW=0.0MiB/s (0.0MB/s), 0 requests"))
    #expect(text.contains("min=0, max=0, avg=0.0, stdev=0.0"))
  }

  @Test("JSON has fio's names, bytes and nanoseconds whole")
  func json() {
    let text = BenchReport.json(result())
    #expect(text.hasPrefix("{\"schema\":\"vblk.bench/1\",\"device\":\"emu:256M,null\""))
    #expect(text.contains("\"read\":{\"total_ios\":1000,\"io_bytes\":4096000,\"iops\":1000000.0"))
    #expect(text.contains("\"bw_bytes\":4096000000,"))
    #expect(text.contains("\"clat_ns\":{\"min\":1,\"max\":1000,\"mean\":501,\"stddev\":289"))
    #expect(text.contains("\"percentile\":{\"1.000000\":10,"))
    #expect(text.contains("\"99.990000\":1000}"))
    #expect(text.hasSuffix("\"polls\":2000,\"empty_polls\":500}\n"))
  }

  @Test("durations as fio takes them")
  func durations() {
    #expect(RunTime.nanoseconds("10s") == 10_000_000_000)
    #expect(RunTime.nanoseconds("500ms") == 500_000_000)
    #expect(RunTime.nanoseconds("2") == 2_000_000_000)
    #expect(RunTime.nanoseconds("1h") == 3_600_000_000_000)
    for text in ["", "s", "1d", "-1s", "1.5s", "99999999999999999h"] {
      #expect(RunTime.nanoseconds(text) == nil, "\(text)")
    }
  }
}

@Suite("Decimal numbers")
struct DecimalTests {
  @Test("are rounded and padded as printf does")
  func text() {
    #expect(Decimal.text(0, digits: 2) == "0.00")
    #expect(Decimal.text(1.005, digits: 1) == "1.0")
    #expect(Decimal.text(0.0625, digits: 3) == "0.062")
    #expect(Decimal.text(99.95, digits: 2) == "99.95")
    #expect(Decimal.text(0.999, digits: 2) == "1.00")
    #expect(Decimal.text(-1.5, digits: 1) == "-1.5")
    #expect(Decimal.text(-0.001, digits: 1) == "0.0")
    #expect(Decimal.text(8_123_456.7, digits: 0) == "8123457")
    #expect(Decimal.text(.nan, digits: 1) == "-")
  }
}
