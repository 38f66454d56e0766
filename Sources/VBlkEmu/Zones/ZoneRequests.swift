internal import Glibc
internal import Virtio

/// Requests of zones, and reads and writes on a zoned disk (virtio 1.3, 5.2.6.2). Checked whole,
/// then done, then written down.
extension DeviceQueue {
  /// Does a request of zones.
  mutating func executeZoned(_ request: inout Request, _ type: RequestType) -> RequestStatus {
    guard let zones else { return .unsupported }
    switch type {
    case .zoneReport: return executeReport(&request, zones)
    case .zoneAppend: return executeAppend(&request, zones)
    default: break
    }
    guard !readOnly, request.readableBytes == 0, request.writableBytes == 0 else {
      return .ioError
    }
    let sector = request.sector
    let store = store
    return outcome(
      zones.change { table in
        switch type {
        case .zoneOpen: (table.open(sector), 0)
        case .zoneClose: (table.close(sector), 0)
        case .zoneFinish: (table.finish(sector), 0)
        case .zoneReset: Self.reset(&table, sector, store)
        case .zoneResetAll: Self.resetAll(&table, store)
        default: (.unsupported, 0)
        }
      })
  }

  /// Empties a zone: its space goes back.
  private static func reset(
    _ table: inout ZoneTable, _ sector: UInt64, _ store: Store
  ) -> (status: RequestStatus, error: CInt) {
    let status = table.reset(sector)
    guard status == .ok else { return (status, 0) }
    return (.ok, discard(table.geometry.zone(of: sector), table.geometry, store))
  }

  private static func resetAll(
    _ table: inout ZoneTable, _ store: Store
  ) -> (status: RequestStatus, error: CInt) {
    for index in table.resetAll() {
      let error = discard(index, table.geometry, store)
      if error != 0 { return (.ok, error) }
    }
    return (.ok, 0)
  }

  private static func discard(_ index: Int, _ geometry: ZoneGeometry, _ store: Store) -> CInt {
    let start = geometry.start(index)
    return store.discard(
      (geometry.end(index) - start) << Sector.shift, at: start << Sector.shift)
  }

  /// What a change of zones comes to; where writes are durable at once, so is it.
  private mutating func outcome(_ result: (status: RequestStatus, error: CInt)) -> RequestStatus {
    guard result.error == 0 else { return storeFailed(result.error) }
    guard result.status == .ok, writeThrough else { return result.status }
    return executeFlush()
  }

  // MARK: - Report

  private mutating func executeReport(
    _ request: inout Request, _ zones: ZoneSet
  ) -> RequestStatus {
    let room = request.writableBytes
    guard request.readableBytes == 0, room >= UInt64(ZoneReportLayout.headerByteCount),
      request.sector < zones.geometry.diskSectors
    else { return .zoneInvalidCommand }
    let sector = request.sector
    let report = zones.look { $0.report(from: sector, byteCount: room) }
    trace(request.writable, request, .deviceWrites)
    guard copyOut(report, request.writable) else { return unmapped(request) }
    request.dataWritten = UInt64(report.count)
    return .ok
  }

  // MARK: - Append

  private mutating func executeAppend(
    _ request: inout Request, _ zones: ZoneSet
  ) -> RequestStatus {
    guard !readOnly, request.writableBytes == UInt64(RequestAnswer.appendSectorByteCount),
      request.readableBytes % Sector.byteCount == 0
    else { return .ioError }
    trace(request.dataIn, request, .deviceReads)
    guard translate(request.dataIn, .deviceReads) else { return unmapped(request) }
    // Written first, so that nothing is appended whose place can't be told.
    let answer = Array(repeating: UInt8.max, count: RequestAnswer.appendSectorByteCount)
    guard copyOut(answer, request.writable) else { return unmapped(request) }
    let store = store
    let segments = hostSegments
    let sector = request.sector
    let count = request.readableBytes >> Sector.shift
    var place: UInt64 = 0
    let result = zones.change { table in
      let (status, at) = table.append(sector, count)
      guard status == .ok else { return (status, 0) }
      place = at
      return (.ok, store.transfer(segments, at: at << Sector.shift, writing: true))
    }
    let status = outcome(result)
    guard status == .ok else { return status }
    if interposition.hostility.contains(.appendSectorWrong) { place &+= zones.geometry.zoneSectors }
    if interposition.defects.contains(.appendPlaceWrong) { place = request.sector }
    let told = (0..<8).map { UInt8(truncatingIfNeeded: place >> (8 * $0)) }
    guard copyOut(told, request.writable) else { return unmapped(request) }
    request.dataWritten = UInt64(told.count)
    counters.bytes &+= request.readableBytes
    return .ok
  }

  // MARK: - Reads and writes

  /// A write whose data was translated.
  mutating func writeZoned(_ request: Request, _ zones: ZoneSet) -> RequestStatus {
    let store = store
    let segments = hostSegments
    let sector = request.sector
    let count = request.readableBytes >> Sector.shift
    let result = zones.change { table in
      let status = table.write(sector, count)
      guard status == .ok else { return (status, 0) }
      return (.ok, store.transfer(segments, at: sector << Sector.shift, writing: true))
    }
    let status = outcome(result)
    if status == .ok { counters.bytes &+= request.readableBytes }
    return status
  }

  /// What becomes of a read: `written` of its bytes are data.
  func checkZonedRead(
    _ request: Request, _ zones: ZoneSet
  ) -> (status: RequestStatus, written: UInt64) {
    let count = request.writableBytes >> Sector.shift
    return zones.look { table in
      let status = table.read(request.sector, count)
      let written = status == .ok ? table.written(request.sector, count) : 0
      return (status, written << Sector.shift)
    }
  }

  /// Zeroes the translated segments from byte `offset` on: what is not written reads so.
  func zeroSegments(from offset: UInt64) {
    var skip = Int(clamping: offset)
    _ = unsafe hostSegments.forEach(in: 0..<hostSegments.count) { memory, count in
      let kept = min(skip, count)
      skip -= kept
      unsafe memset(memory + kept, 0, count - kept)
      return 0
    }
  }

  /// A range request on a zoned disk: a secure erase resets whole zones, zeroes are written as data
  /// is, and only where any place will do.
  ///
  /// - Returns: nil where it's done as on any other disk.
  mutating func executeZonedRange(
    _ range: RangeSegment, _ kind: RangeLimits.Kind, _ zones: ZoneSet
  ) -> RequestStatus? {
    let store = store
    let geometry = zones.geometry
    let end = range.sector + UInt64(range.sectorCount)
    switch kind {
    case .discard: return nil
    case .writeZeroes:
      guard
        geometry.model == .hostAware || geometry.zone(of: max(end, 1) - 1) < geometry.conventional
      else { return .zoneInvalidCommand }
      let result = zones.change { ($0.write(range.sector, UInt64(range.sectorCount)), 0) }
      return result.status == .ok ? nil : result.status
    case .secureErase:
      guard range.sector % geometry.zoneSectors == 0,
        end % geometry.zoneSectors == 0 || end == geometry.diskSectors
          || geometry.defects.contains(.erasesParts)
      else { return .ioError }
      return outcome(
        zones.change { table in
          for start in stride(from: range.sector, to: end, by: Int(geometry.zoneSectors)) {
            let result = Self.reset(&table, start, store)
            guard result.status == .ok, result.error == 0 else { return result }
          }
          return (.ok, 0)
        })
    }
  }
}
