import Virtio

/// The zones of a zoned device, as its configuration says (virtio 1.3, 5.2.4); in bytes.
public struct ZonedLimits: Equatable, Sendable {
  /// Who keeps writes in order.
  public enum Model: Sendable {
    /// The host: the device refuses a write that isn't at its zone's write pointer.
    case hostManaged
    /// The host may: the device takes any write, and likes those at the write pointer.
    case hostAware
  }

  /// Who keeps writes in order.
  public let model: Model
  /// Bytes of each zone; the last one may be smaller.
  public let zoneByteCount: UInt64
  /// Most zones that can be open at a time; nil is no limit.
  public let maxOpenZones: Int?
  /// Most zones that can be open or closed with data in them; nil is no limit.
  public let maxActiveZones: Int?
  /// Most bytes of one append; 0 where there is none.
  public let maxAppendBytes: UInt64
  /// Offsets and lengths of writes to sequential zones are multiples of it.
  public let writeGranularity: UInt64

  /// Reads the zoned fields.
  ///
  /// - Returns: nil for a device that is no zoned one.
  init?(_ config: BlockConfigSnapshot, block: Int) throws(VBlkError) {
    switch ZonedModel(rawValue: config.zonedModel) {
    case .some(.none): return nil
    case .hostManaged: model = .hostManaged
    case .hostAware: model = .hostAware
    case nil: throw Self.refusal("model \(config.zonedModel)", "0, 1 or 2")
    }
    zoneByteCount = UInt64(config.zoneSectors) << Sector.shift
    guard zoneByteCount > 0, zoneByteCount % UInt64(block) == 0 else {
      throw Self.refusal("zone_sectors \(config.zoneSectors)", "whole blocks of \(block) bytes")
    }
    let granularity = UInt64(config.writeGranularity)
    guard granularity > 0, granularity % Sector.byteCount == 0, zoneByteCount % granularity == 0
    else {
      throw Self.refusal(
        "write_granularity \(granularity)", "whole sectors that a zone is a multiple of")
    }
    writeGranularity = max(granularity, UInt64(block))
    let append = UInt64(config.maxAppendSectors) << Sector.shift
    guard append == 0 || append >= granularity else {
      throw Self.refusal(
        "max_append_sectors \(config.maxAppendSectors)", "0, or at least write_granularity")
    }
    maxAppendBytes = append
    maxOpenZones = config.maxOpenZones == 0 ? nil : Int(config.maxOpenZones)
    maxActiveZones = config.maxActiveZones == 0 ? nil : Int(config.maxActiveZones)
  }

  private static func refusal(_ seen: String, _ allowed: String) -> VBlkError {
    VBlkError(
      .deviceUnavailable, "a zoned device says \(seen) (virtio 1.3, 5.2.5.2)",
      remedy: "the device is faulty: it must be \(allowed)")
  }
}
