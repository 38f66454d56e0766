/// `type` of a block request (virtio 1.2, 5.2.6; zones from 1.3).
public enum RequestType: UInt32, Sendable, CaseIterable {
  /// Read.
  case read = 0
  /// Write.
  case write = 1
  /// Make completed writes durable.
  case flush = 4
  /// Read the 20-byte id string.
  case getID = 8
  /// Read the wear report.
  case getLifetime = 10
  /// Discard ranges.
  case discard = 11
  /// Write zeroes to ranges.
  case writeZeroes = 13
  /// Erase ranges beyond recovery.
  case secureErase = 14
  /// Append to a zone.
  case zoneAppend = 15
  /// Report zones.
  case zoneReport = 16
  /// Open a zone.
  case zoneOpen = 18
  /// Close a zone.
  case zoneClose = 20
  /// Make a zone full.
  case zoneFinish = 22
  /// Make a zone empty.
  case zoneReset = 24
  /// Make all zones empty.
  case zoneResetAll = 26

  /// Whether it is one of zones.
  public var isZoned: Bool { rawValue >= RequestType.zoneAppend.rawValue }
}

/// The status byte that ends a request (virtio 1.2, 5.2.6; zones from 1.3).
public enum RequestStatus: UInt8, Sendable, CaseIterable {
  /// Done.
  case ok = 0
  /// The device met an error.
  case ioError = 1
  /// The device does not know this request.
  case unsupported = 2
  /// A zone command in the wrong place or state.
  case zoneInvalidCommand = 3
  /// A write off the write pointer.
  case zoneUnalignedWritePointer = 4
  /// Too many open zones.
  case zoneOpenResource = 5
  /// Too many active zones.
  case zoneActiveResource = 6

  /// What a driver writes before the device does: no device status has this value.
  @inlinable public static var poison: UInt8 { 0xFF }
}

/// The 16 device-readable bytes at the head of each request (virtio 1.2, 5.2.6).
@frozen
public struct RequestHeader: Equatable, Sendable {
  /// What to do: a `RequestType`.
  public var type: UInt32
  /// Reserved (once a priority).
  public var reserved: UInt32
  /// Where, in 512-byte sectors.
  public var sector: UInt64

  /// Makes a header.
  @inlinable
  public init(type: UInt32, sector: UInt64) {
    self.type = type
    self.reserved = 0
    self.sector = sector
  }

  /// Bytes of the header.
  @inlinable public static var byteCount: UInt32 { 16 }
}

/// One range of a discard, write-zeroes or secure-erase request (virtio 1.2, 5.2.6).
@frozen
public struct RangeSegment: Equatable, Sendable {
  /// First sector.
  public var sector: UInt64
  /// Sectors.
  public var sectorCount: UInt32
  /// Bit 0: unmap (write zeroes only).
  public var flags: UInt32

  /// Makes a range.
  @inlinable
  public init(sector: UInt64, sectorCount: UInt32, flags: UInt32) {
    self.sector = sector
    self.sectorCount = sectorCount
    self.flags = flags
  }

  /// Bytes of a range.
  @inlinable public static var byteCount: UInt32 { 16 }
  /// `flags` bit 0.
  @inlinable public static var unmap: UInt32 { 1 }
}

/// Answers of fixed shape.
public enum RequestAnswer {
  /// Bytes of a GET_ID answer: NUL-padded, not always terminated.
  public static let idByteCount = 20
  /// Bytes of a GET_LIFETIME answer: pre_eol, estimate A, estimate B, 16 bits each.
  public static let lifetimeByteCount = 6
  /// Bytes of `append_sector`, which a ZONE_APPEND has between data and status (virtio 1.3, 5.2.6).
  public static let appendSectorByteCount = 8
}
