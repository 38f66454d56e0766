internal import Virtio

/// What a driver may ask of zones (virtio 1.3, 5.2.6.1).
extension DeviceQueue {
  /// The rule that a request of zones breaks.
  func zoneRule(_ type: RequestType, _ sector: UInt64, out: [DataSegment]) -> DriverRule? {
    guard let geometry = activeZones?.geometry else { return nil }
    let isStart = sector % geometry.zoneSectors == 0 && sector < geometry.diskSectors
    switch type {
    case .zoneReport: return sector < geometry.diskSectors ? nil : .zoned
    case .zoneResetAll: return sector == 0 ? nil : .zoned
    case .zoneAppend:
      let byteCount = out.reduce(0) { $0 + UInt64($1.length) }
      let isWhole = byteCount > 0 && isWholeGranules(byteCount, geometry)
      let fits = byteCount >> Sector.shift <= geometry.maxAppendSectors
      return isStart && isWhole && fits ? nil : .zoned
    default: return isStart ? nil : .zoned
    }
  }

  /// The rule that a write to a sequential zone breaks. One off the pointer breaks none: only the
  /// device knows where that is.
  func zonedWriteRule(_ sector: UInt64, _ byteCount: UInt64) -> DriverRule? {
    guard let geometry = activeZones?.geometry, sector < geometry.diskSectors,
      geometry.kind(geometry.zone(of: sector)) == .sequentialRequired
    else { return nil }
    let zone = geometry.zone(of: sector)
    let isInside = sector + byteCount >> Sector.shift <= geometry.capacityEnd(zone)
    let isWhole = isWholeGranules(byteCount, geometry)
    return isInside && isWhole && sector % geometry.granularitySectors == 0 ? nil : .zoned
  }

  private func isWholeGranules(_ byteCount: UInt64, _ geometry: ZoneGeometry) -> Bool {
    byteCount % (geometry.granularitySectors << Sector.shift) == 0
  }
}
