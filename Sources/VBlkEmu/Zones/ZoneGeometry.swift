public import Virtio

extension EmulatedDisk {
  /// The zones that a disk is made with (virtio 1.3, 5.2.4). What is nil is as the zone file beside
  /// the image says, or the default.
  public struct Zones: Equatable, Sendable {
    /// Who keeps writes in order; with `.none` ZONED is offered by a disk without zones.
    public var model: ZonedModel
    /// Sectors of a zone; 16 MiB by default.
    public var zoneSectors: UInt32?
    /// Sectors of a zone that can be written; all by default.
    public var capacitySectors: UInt32?
    /// Conventional zones at the start of the disk; none by default.
    public var conventionalZones: UInt32?
    /// Most open zones; 0 is no limit.
    public var maxOpenZones: UInt32 = 0
    /// Most active zones; 0 is no limit.
    public var maxActiveZones: UInt32 = 0
    /// Most sectors of an append; 0 is no append.
    public var maxAppendSectors: UInt32 = 1024
    /// Bytes that offsets and lengths of writes to sequential zones are multiples of.
    public var writeGranularity: UInt32 = 512

    /// Zones of a model, with the defaults for the rest.
    public init(_ model: ZonedModel) { self.model = model }

    /// A host-managed disk's.
    public static let hostManaged = Zones(.hostManaged)
    /// A host-aware disk's.
    public static let hostAware = Zones(.hostAware)
    /// None: ZONED is offered all the same.
    public static let none = Zones(.none)
  }
}

/// Where the zones of a disk are, and how many may be open; 512-byte sectors.
struct ZoneGeometry: Equatable {
  let model: ZonedModel
  let diskSectors: UInt64
  let zoneSectors: UInt64
  let capacitySectors: UInt64
  let conventional: Int
  let maxOpen: Int
  let maxActive: Int
  let maxAppendSectors: UInt64
  let granularitySectors: UInt64
  /// Mistakes, for the tests of the tests.
  var defects: Defects = []

  /// What `wanted` comes to on a disk of `diskSectors`, where `found` is what its zone file says.
  init(
    _ wanted: EmulatedDisk.Zones, diskSectors: UInt64, blockSize: UInt32, found: ZoneFile.Shape?
  ) throws(EmulatorError) {
    // The file's shape goes together.
    let isOther = wanted.zoneSectors.map { UInt64($0) != found?.zoneSectors } ?? false
    let found = isOther ? nil : found
    model = wanted.model
    self.diskSectors = diskSectors
    zoneSectors =
      wanted.zoneSectors.map { UInt64($0) } ?? found?.zoneSectors ?? Limits.zoneSectors
    capacitySectors =
      wanted.capacitySectors.map { UInt64($0) } ?? found?.capacitySectors ?? zoneSectors
    conventional = Int(wanted.conventionalZones.map { UInt64($0) } ?? found?.conventional ?? 0)
    maxOpen = Int(wanted.maxOpenZones)
    maxActive = Int(wanted.maxActiveZones)
    maxAppendSectors = UInt64(wanted.maxAppendSectors)
    let granularity = max(wanted.writeGranularity, blockSize)
    granularitySectors = UInt64(granularity) >> Sector.shift
    let block = UInt64(blockSize) >> Sector.shift
    try Self.require(
      zoneSectors > 0 && zoneSectors % block == 0 && zoneSectors <= UInt64(UInt32.max),
      "zones of \(zoneSectors) sectors", "whole blocks of \(blockSize) bytes, below 2^32 sectors")
    try Self.require(
      granularity % 512 == 0 && zoneSectors % granularitySectors == 0,
      "a write granularity of \(granularity) bytes", "whole sectors that divide a zone")
    try Self.require(
      capacitySectors > 0 && capacitySectors <= zoneSectors
        && capacitySectors % granularitySectors == 0,
      "a zone capacity of \(capacitySectors) sectors",
      "whole granules, at most a zone of \(zoneSectors) sectors")
    try Self.require(
      maxAppendSectors == 0 || maxAppendSectors >= granularitySectors,
      "appends of \(maxAppendSectors) sectors", "0, or at least the write granularity")
    try Self.require(
      conventional <= count, "\(conventional) conventional zones", "at most \(count)")
    try Self.require(
      maxOpen == 0 || maxActive == 0 || maxOpen <= maxActive,
      "\(maxOpen) open of \(maxActive) active zones", "no more open than active ones")
  }

  private static func require(
    _ good: Bool, _ seen: String, _ allowed: String
  ) throws(EmulatorError) {
    guard good else { throw EmulatorError(.invalidArgument, seen, remedy: "choose \(allowed)") }
  }

  /// Zones of the disk; the last one may be smaller (virtio 1.3, 5.2.5.2).
  var count: Int {
    Int((diskSectors + (defects.contains(.lastZoneMissing) ? 0 : zoneSectors - 1)) / zoneSectors)
  }

  func zone(of sector: UInt64) -> Int { Int(sector / zoneSectors) }

  func start(_ zone: Int) -> UInt64 { UInt64(zone) * zoneSectors }

  /// First sector behind the zone.
  func end(_ zone: Int) -> UInt64 { min(start(zone) + zoneSectors, diskSectors) }

  /// First sector of the zone that can't be written any more.
  func capacityEnd(_ zone: Int) -> UInt64 {
    zone < conventional ? end(zone) : min(start(zone) + capacitySectors, end(zone))
  }

  func kind(_ zone: Int) -> ZoneType {
    if zone < conventional { return .conventional }
    return model == .hostManaged ? .sequentialRequired : .sequentialPreferred
  }
}
