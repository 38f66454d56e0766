internal import Glibc
internal import Synchronization
public import Virtio

/// The zones of a disk, for all of its queues: the table, and the file that outlives the process.
///
/// Lock order: a queue's lock, then this one.
final class ZoneSet: Sendable {
  let geometry: ZoneGeometry
  private let table: Mutex<ZoneTable>
  private let file: ZoneFile?

  private init(_ table: ZoneTable, _ file: ZoneFile?) {
    geometry = table.geometry
    self.table = Mutex(table)
    self.file = file
  }

  /// The zones of the disk that `configuration` describes, as their file says; nil for a disk that
  /// has none.
  static func open(
    _ configuration: EmulatedDisk.Configuration, diskSectors: UInt64
  ) throws(EmulatorError) -> ZoneSet? {
    guard let wanted = configuration.offeredZones, wanted.model != .none else { return nil }
    var found: ZoneFile?
    if let path = configuration.zonePath {
      found = try ZoneFile.open(path: path, readOnly: configuration.readOnly)
    }
    var geometry = try ZoneGeometry(
      wanted, diskSectors: diskSectors, blockSize: configuration.blockSize,
      found: try found?.shape())
    geometry.defects = configuration.defects
    if let found {
      return ZoneSet(ZoneTable(geometry, zones: try found.zones(geometry)), found)
    }
    let table = ZoneTable(geometry)
    guard let path = configuration.zonePath, !configuration.readOnly else {
      return ZoneSet(table, nil)
    }
    return ZoneSet(table, try ZoneFile.make(path: path, table))
  }

  /// Looks at the table.
  func look<Result>(_ body: (ZoneTable) -> Result) -> Result {
    table.withLock { body($0) }
  }

  /// Does an operation: `body` says its status and the errno of the store, and what it has changed
  /// is written down. Where any of it fails, nothing has changed.
  func change(
    _ body: (inout ZoneTable) -> (status: RequestStatus, error: CInt)
  ) -> (status: RequestStatus, error: CInt) {
    table.withLock { table in
      table.begin()
      var (status, error) = body(&table)
      if status == .ok, error == 0 { error = write(table) }
      guard status != .ok || error != 0 else { return (.ok, 0) }
      table.undo()
      return (error == 0 ? status : .ioError, error)
    }
  }

  /// Writes the zones down that have changed.
  private func write(_ table: ZoneTable) -> CInt {
    guard let file else { return 0 }
    for change in table.changes {
      let error = file.store(change.index, table.zones[change.index])
      if error != 0 { return error }
    }
    return 0
  }

  /// Makes the zones' states durable.
  ///
  /// - Returns: An errno, 0 for none.
  func flush() -> CInt { file?.flush() ?? 0 }
}

extension EmulatedDisk.Configuration {
  /// The zones, if ZONED is offered.
  var offeredZones: EmulatedDisk.Zones? { offered.contains(.zoned) ? zones : nil }

  /// Where the zones' states are kept: beside the image.
  var zonePath: String? {
    if case .file(let path) = contents { return path + ".zones" }
    return nil
  }
}

extension EmulatedDisk {
  /// Makes a sequential zone read-only or offline, as failing hardware does (virtio 1.3, 5.2.6).
  ///
  /// - Parameters:
  ///   - index: Which zone.
  ///   - state: `.readOnly` or `.offline`.
  /// - Throws: ``EmulatorError`` where there is no such zone, it can't become that, or the zone
  ///   file can't be written.
  public func failZone(_ index: Int, as state: ZoneState) throws(EmulatorError) {
    guard let zones = core.zones, index >= zones.geometry.conventional,
      index < zones.geometry.count, state == .readOnly || state == .offline
    else {
      throw EmulatorError(
        .invalidArgument, "zone \(index) can't become \(state)",
        remedy: "choose a sequential zone, and readOnly or offline")
    }
    let (_, error) = zones.change { table in
      table.fail(index, state)
      return (.ok, 0)
    }
    guard error == 0 else {
      throw EmulatorError(
        .system, "can't write the zone file: errno \(error)", remedy: "free its disk")
    }
  }
}
