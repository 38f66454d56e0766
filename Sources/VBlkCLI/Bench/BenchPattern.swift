internal import ArgumentParser

/// What a bench does to the device, in fio's words.
enum BenchPattern: String, CaseIterable, ExpressibleByArgument {
  case read
  case write
  case randread
  case randwrite
  case randrw

  /// Whether anything is written.
  var writes: Bool { self == .write || self == .randwrite || self == .randrw }
  /// Whether anything is read.
  var reads: Bool { self == .read || self == .randread || self == .randrw }
  /// Whether offsets are random.
  var isRandom: Bool { self == .randread || self == .randwrite || self == .randrw }
}

/// Durations in fio's words: "10s", "500ms", "2m", or seconds.
enum RunTime {
  static let grammar = "digits with ms, s, m or h, or seconds"

  /// The nanoseconds that the text means; nil where it means none.
  static func nanoseconds(_ text: String) -> UInt64? {
    let units: [String: UInt64] = [
      "": 1_000_000_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000,
      "h": 3_600_000_000_000,
    ]
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let count = UInt64(digits), let unit = units[String(text.dropFirst(digits.count))] else {
      return nil
    }
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow ? nil : product
  }
}
