/// Which contents a client may find after a power cut, from what the client knows: when each write
/// and flush was submitted, and when it completed (virtio 1.2, 5.2.6.2).
///
/// A write is *stable* once a flush that was submitted after its completion has completed, or at
/// once where it was a durable one. Of each sector the versions are its writes, and the contents
/// at the start; a version may be found unless a stable one was submitted after it had completed.
/// Writes of several sectors may be torn between them; writes under way at the same time may land
/// in any order; one that never completed may be found or not.
public struct DurabilityOracle: Sendable {
  private static let sectorByteCount = 512

  private struct Write {
    let first: Int
    let bytes: [UInt8]
    let submitted: Int
    var completed: Int?
    var isStable = false

    func contains(_ sector: Int) -> Bool {
      sector >= first && sector < first + bytes.count / sectorByteCount
    }

    func bytes(of sector: Int) -> ArraySlice<UInt8> {
      let start = (sector - first) * sectorByteCount
      return bytes[start..<start + sectorByteCount]
    }
  }

  private var writes: [Write]
  /// Flushes under way: the writes that had completed.
  private var flushes: [Int: [Int]] = [:]
  private var clock = 0
  private let sectorCount: Int

  /// An oracle for a disk whose contents are `contents`, whole sectors of 512 bytes.
  public init(_ contents: [UInt8]) {
    precondition(contents.count % Self.sectorByteCount == 0, "contents are whole sectors")
    sectorCount = contents.count / Self.sectorByteCount
    writes = [Write(first: 0, bytes: contents, submitted: 0, completed: 0, isStable: true)]
  }

  private mutating func tick() -> Int {
    clock += 1
    return clock
  }

  /// A write of whole sectors is submitted.
  ///
  /// - Returns: Its name.
  public mutating func submitWrite(at offset: UInt64, _ bytes: [UInt8]) -> Int {
    let first = Int(offset) / Self.sectorByteCount
    precondition(
      Int(offset) % Self.sectorByteCount == 0 && bytes.count % Self.sectorByteCount == 0
        && first + bytes.count / Self.sectorByteCount <= sectorCount, "a write of whole sectors")
    writes.append(Write(first: first, bytes: bytes, submitted: tick()))
    return writes.count - 1
  }

  /// A write completed without error.
  ///
  /// - Parameters:
  ///   - write: Its name.
  ///   - isStable: Whether it was a durable one, or the cache is write-through.
  public mutating func complete(_ write: Int, isStable: Bool = false) {
    writes[write].completed = tick()
    if isStable { writes[write].isStable = true }
  }

  /// A flush is submitted.
  ///
  /// - Returns: Its name.
  public mutating func submitFlush() -> Int {
    let now = tick()
    flushes[now] = writes.indices.filter { writes[$0].completed != nil }
    return now
  }

  /// A flush completed without error.
  public mutating func completeFlush(_ flush: Int) {
    for write in flushes.removeValue(forKey: flush) ?? [] { writes[write].isStable = true }
  }

  /// The first sector whose contents can't be, with its history; nil if all of them can.
  ///
  /// - Parameter contents: The whole disk, read after the power cut.
  /// - Returns: The sector, or nil.
  public func firstIllegal(in contents: [UInt8]) -> IllegalSector? {
    precondition(
      contents.count == sectorCount * Self.sectorByteCount, "the contents of the whole disk")
    for sector in 0..<sectorCount {
      let start = sector * Self.sectorByteCount
      let found = contents[start..<start + Self.sectorByteCount]
      let versions = writes.indices.filter { writes[$0].contains(sector) }
      let isAllowed = versions.contains {
        isLegal($0, sector, versions) && writes[$0].bytes(of: sector).elementsEqual(found)
      }
      if isAllowed { continue }
      return IllegalSector(
        sector: UInt64(sector), history: versions.map { describe($0, sector, versions, found) })
    }
    return nil
  }

  /// Whether a version may be found: no stable one was submitted after it had completed.
  private func isLegal(_ write: Int, _ sector: Int, _ versions: [Int]) -> Bool {
    guard let completed = writes[write].completed else { return true }
    return !versions.contains {
      $0 != write && writes[$0].isStable && writes[$0].submitted > completed
    }
  }

  private func describe(
    _ write: Int, _ sector: Int, _ versions: [Int], _ found: ArraySlice<UInt8>
  ) -> String {
    let version = writes[write]
    let end = version.completed.map { "completed at \($0)" } ?? "never completed"
    let same = version.bytes(of: sector).elementsEqual(found) ? ", found" : ""
    return "write \(write): submitted at \(version.submitted), \(end)"
      + "\(version.isStable ? ", stable" : "")"
      + "\(isLegal(write, sector, versions) ? ", legal" : "")\(same)"
  }
}

/// A sector that a power cut must not have left as it is.
public struct IllegalSector: Equatable, Sendable, CustomStringConvertible {
  /// Which one, in units of 512 bytes.
  public let sector: UInt64
  /// Its versions, oldest first: whether each is stable, legal, or the one that was found.
  public let history: [String]

  /// One line a version.
  public var description: String {
    "sector \(sector): \(history.joined(separator: "; "))"
  }
}
