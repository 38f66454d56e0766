/// What the process has mapped, as the kernel lists it.
struct ProcessMap {
  /// One mapping.
  struct Entry: Equatable {
    /// Its addresses.
    var addresses: Range<UInt>
    /// Whether it can be both read and written.
    var isReadWrite: Bool
    /// Bytes of its pages; known only in a detailed map.
    var pageByteCount: Int?
  }

  /// Mappings by address.
  let entries: [Entry]

  /// Reads /proc/self/maps, or /proc/self/smaps, which is slower, if `detailed`.
  init(detailed: Bool) throws(SystemError) {
    let text = try ProcFile.contents(of: detailed ? "/proc/self/smaps" : "/proc/self/maps")
    self.init(text)
  }

  /// Reads the text of such a file.
  init(_ text: [UInt8]) {
    var entries: [Entry] = []
    for line in text.split(separator: UInt8(ascii: "\n")) {
      if let entry = ProcessMap.entry(line) {
        entries.append(entry)
      } else if line.starts(with: "KernelPageSize:".utf8), let last = entries.indices.last {
        entries[last].pageByteCount = line.decimalNumber.map { $0 * 1024 }
      }
    }
    self.entries = entries
  }

  /// The parts of `range` that can be read and written, by address, joined where they touch.
  func readWriteParts(of range: Range<UInt>) -> [Range<UInt>] {
    var parts: [Range<UInt>] = []
    for entry in entries where entry.isReadWrite && entry.addresses.overlaps(range) {
      let part = entry.addresses.clamped(to: range)
      if let last = parts.last, last.upperBound == part.lowerBound {
        parts[parts.count - 1] = last.lowerBound..<part.upperBound
      } else {
        parts.append(part)
      }
    }
    return parts
  }

  /// The parts widened to the pages that they are in, each inside one mapping; needs a detailed
  /// map. A part of a huge page can be neither locked nor advised.
  func wholePages(of parts: [Range<UInt>]) -> [Range<UInt>] {
    var result: [Range<UInt>] = []
    for part in parts {
      for entry in entries where entry.addresses.overlaps(part) {
        let mask = UInt(entry.pageByteCount ?? Limits.pageByteCount) - 1
        let pages = part.lowerBound & ~mask..<(part.upperBound + mask) & ~mask
        result.append(pages.clamped(to: entry.addresses))
      }
    }
    return result
  }

  /// Whether all of `range` is in pages of at least `byteCount` bytes; needs a detailed map.
  func isHuge(_ range: Range<UInt>, byteCount: Int) -> Bool {
    let huge = entries.filter { ($0.pageByteCount ?? 0) >= byteCount }.map(\.addresses)
    return huge.firstGap(in: range) == nil
  }

  /// Reads "7f00-7f10 rw-p …", or answers nil.
  private static func entry(_ line: ArraySlice<UInt8>) -> Entry? {
    let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard words.count >= 2, words[1].count == 4 else { return nil }
    let bounds = words[0].split(separator: UInt8(ascii: "-"))
    guard bounds.count == 2, let low = hex(bounds[0]), let high = hex(bounds[1]) else { return nil }
    return Entry(
      addresses: low..<max(low, high), isReadWrite: words[1].starts(with: "rw".utf8),
      pageByteCount: nil)
  }

  private static func hex(_ digits: ArraySlice<UInt8>) -> UInt? {
    UInt(String(decoding: digits, as: UTF8.self), radix: 16)
  }
}

extension [Range<UInt>] {
  /// The first element of `range` that no range of this rising list holds, or nil.
  func firstGap(in range: Range<UInt>) -> UInt? {
    var low = range.lowerBound
    for part in self where part.contains(low) { low = part.upperBound }
    return low < range.upperBound ? low : nil
  }

  /// For each 4 KiB page of `range`, whether no range of this list holds it.
  func holes(in range: Range<UInt>) -> [Bool] {
    let page = Limits.pageByteCount
    return stride(from: range.lowerBound, to: range.upperBound, by: page).map { address in
      !contains { $0.contains(address) }
    }
  }
}
