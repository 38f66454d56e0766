import Testing

@testable import VBlkCLI

@Suite("Zero runs")
struct ZeroRunsTests {
  /// The runs of a chunk in which the granules named hold one byte of data, at its end.
  private func runs(granules: Int, tail: Int = 0, data: Set<Int>) -> [(end: Int, isZero: Bool)] {
    let granule = 64
    var bytes = [UInt8](repeating: 0, count: granules * granule + tail)
    for index in data { bytes[min((index + 1) * granule, bytes.count) - 1] = 1 }
    var runs: [(end: Int, isZero: Bool)] = []
    var start = 0
    while start < bytes.count {
      let run = unsafe bytes.withUnsafeBytes {
        unsafe ZeroRuns.run(in: $0, from: start, granule: granule)
      }
      runs.append(run)
      start = run.end
    }
    return runs
  }

  @Test("alternate, and cover every byte: all patterns of eight granules")
  func patterns() {
    for pattern in 0..<256 {
      let data = Set((0..<8).filter { pattern >> $0 & 1 == 1 })
      let runs = runs(granules: 8, data: data)
      #expect(runs.last?.end == 512, "\(pattern)")
      var start = 0
      for (index, run) in runs.enumerated() {
        #expect(
          (start / 64..<run.end / 64).allSatisfy { data.contains($0) != run.isZero }, "\(pattern)")
        if index > 0 { #expect(run.isZero != runs[index - 1].isZero, "\(pattern)") }
        start = run.end
      }
    }
  }

  @Test("end with the chunk, whole granule or not, down to one byte")
  func tails() {
    #expect(runs(granules: 2, tail: 5, data: []).map(\.end) == [133])
    #expect(runs(granules: 2, tail: 5, data: [2]).map(\.end) == [128, 133])
    #expect(runs(granules: 1, tail: 1, data: [1]).map(\.isZero) == [true, false])
  }
}
