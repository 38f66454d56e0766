import Virtio

/// What an operation or a bio does.
@usableFromInline
enum Operation: UInt8 {
  case read, write, flush, discard, writeZeroes, identify, secureErase, lifetime
  case zoneReport, zoneAppend, zoneOpen, zoneClose, zoneFinish, zoneReset, zoneResetAll

  /// Whether the device writes into the data segments.
  @usableFromInline
  var deviceWrites: Bool {
    switch self {
    case .read, .identify, .lifetime, .zoneReport: true
    default: false
    }
  }

  /// Bytes that the device writes between the data and the status.
  @inline(__always)
  var answerByteCount: UInt32 {
    self == .zoneAppend ? UInt32(RequestAnswer.appendSectorByteCount) : 0
  }

  /// Whether it changes what is on the device, so that a read-only one is not asked.
  @usableFromInline
  var changesData: Bool {
    switch self {
    case .read, .flush, .identify, .lifetime, .zoneReport: false
    default: true
    }
  }

  /// A read or write: data that is cut into bios as the limits want it.
  @inline(__always)
  var isTransfer: Bool { self == .read || self == .write }

  /// A list of ranges without data.
  @inline(__always)
  var isRange: Bool { self == .discard || self == .writeZeroes || self == .secureErase }

  /// One bio whatever its size: there is nothing to cut.
  var isOneBio: Bool { !isTransfer && !isRange }

  /// A command for zones, or a report of them.
  @inline(__always)
  var isZoned: Bool { rawValue >= Operation.zoneReport.rawValue }

  /// Bytes that the device may write in a request of `byteCount` data bytes, the status among them.
  @inline(__always)
  func writableBytes(_ byteCount: UInt32) -> UInt32 {
    1 &+ (deviceWrites ? byteCount : answerByteCount)
  }

  /// Whether the header names a sector; it is 0 for all others (virtio 1.3, 5.2.6).
  @inline(__always)
  var namesSector: Bool { isTransfer || isZoned && self != .zoneResetAll }

  /// `type` of its requests.
  @inline(__always)
  var requestType: RequestType {
    switch self {
    case .read: .read
    case .write: .write
    case .flush: .flush
    case .discard: .discard
    case .writeZeroes: .writeZeroes
    case .identify: .getID
    case .secureErase: .secureErase
    case .lifetime: .getLifetime
    case .zoneReport: .zoneReport
    case .zoneAppend: .zoneAppend
    case .zoneOpen: .zoneOpen
    case .zoneClose: .zoneClose
    case .zoneFinish: .zoneFinish
    case .zoneReset: .zoneReset
    case .zoneResetAll: .zoneResetAll
    }
  }
}
