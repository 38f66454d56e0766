/// A zone report: a 64-byte header, then 64 bytes a zone (virtio 1.3, 5.2.6).
public enum ZoneReportLayout {
  /// Bytes of the header: `nr_zones` (64 bits), then reserved.
  public static let headerByteCount = 64
  /// Bytes of a zone's descriptor.
  public static let descriptorByteCount = 64
  /// Capacity in sectors, 64 bits.
  public static let capacity = 0
  /// First sector, 64 bits.
  public static let start = 8
  /// Write pointer, an absolute sector, 64 bits.
  public static let writePointer = 16
  /// Kind of zone, 8 bits.
  public static let type = 24
  /// State, 8 bits.
  public static let state = 25
}

/// Kind of a zone (virtio 1.3, 5.2.6).
public enum ZoneType: UInt8, Sendable, CaseIterable {
  /// Random writes.
  case conventional = 1
  /// Writes only at the write pointer.
  case sequentialRequired = 2
  /// Writes preferably at the write pointer.
  case sequentialPreferred = 3
}

/// State of a zone (virtio 1.3, 5.2.6).
public enum ZoneState: UInt8, Sendable, CaseIterable {
  /// A conventional zone: no write pointer.
  case notWritePointer = 0
  /// Nothing written.
  case empty = 1
  /// Opened by a write.
  case implicitlyOpen = 2
  /// Opened by a command.
  case explicitlyOpen = 3
  /// Closed with data in it.
  case closed = 4
  /// No more writes.
  case readOnly = 13
  /// Written to its end.
  case full = 14
  /// Lost.
  case offline = 15
}

/// Zoned model of a device (virtio 1.3, 5.2.4).
public enum ZonedModel: UInt8, Sendable, CaseIterable {
  /// No zones.
  case none = 0
  /// Sequential writes are demanded.
  case hostManaged = 1
  /// Sequential writes are preferred.
  case hostAware = 2
}
