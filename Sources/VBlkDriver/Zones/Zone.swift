import Virtio

/// A zone of a zoned device, as a report shows it (virtio 1.3, 5.2.6). All in bytes of the device.
public struct Zone: Equatable, Sendable {
  /// How a zone may be written.
  public enum Kind: UInt8, Sendable, CaseIterable {
    /// Anywhere, at any time.
    case conventional = 1
    /// At its write pointer only.
    case sequentialWriteRequired
    /// Anywhere, preferably at its write pointer.
    case sequentialWritePreferred
  }

  /// What a zone's life has come to.
  public enum State: UInt8, Sendable, CaseIterable {
    /// A conventional zone: it has no write pointer.
    case notWritePointer = 0
    /// Nothing is written.
    case empty
    /// Opened by a write.
    case implicitlyOpen
    /// Opened by a command.
    case explicitlyOpen
    /// Closed with data in it.
    case closed
    /// It can't be written any more.
    case readOnly = 13
    /// Written to its end, or finished.
    case full
    /// Lost.
    case offline
  }

  /// First byte.
  public let start: UInt64
  /// Bytes from the first one on that can be written; the rest of the zone is not there.
  public let capacity: UInt64
  /// Where the next write goes; nil in a state that has no write pointer.
  public let writePointer: UInt64?
  /// How it may be written.
  public let kind: Kind
  /// What its life has come to.
  public let state: State
}

extension Zone {
  /// Reads one descriptor of a report and holds it against what the device said of its zones.
  ///
  /// - Returns: nil for one that can't be.
  init?(_ bytes: ArraySlice<UInt8>, start expected: UInt64, _ limits: ZonedLimits, end: UInt64) {
    typealias Layout = ZoneReportLayout
    func word(_ offset: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(bytes[bytes.startIndex + offset + $1]) << UInt64(8 * $1) }
    }
    let size = min(limits.zoneByteCount, end - expected)
    guard word(Layout.start) == expected >> Sector.shift,
      word(Layout.capacity) <= size >> Sector.shift,
      let kind = Kind(rawValue: bytes[bytes.startIndex + Layout.type]),
      let state = State(rawValue: bytes[bytes.startIndex + Layout.state]),
      (kind == .conventional) == (state == .notWritePointer)
    else { return nil }
    start = expected
    capacity = word(Layout.capacity) << Sector.shift
    self.kind = kind
    self.state = state
    let pointer = word(Layout.writePointer)
    switch state {
    case .notWritePointer, .readOnly, .full, .offline: writePointer = nil
    case .empty, .implicitlyOpen, .explicitlyOpen, .closed:
      let first = expected >> Sector.shift
      guard pointer >= first, pointer - first <= capacity >> Sector.shift,
        state != .empty || pointer == first
      else { return nil }
      writePointer = pointer << Sector.shift
    }
  }
}
