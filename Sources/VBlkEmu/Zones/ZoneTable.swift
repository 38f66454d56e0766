internal import Virtio

/// The zones of a disk and what may become of them: the state machine (virtio 1.3, 5.2.6).
///
/// ```
///             write, append            full, FINISH
///  EMPTY ─────────────────► IOPEN ────────────────► FULL    OPEN: EMPTY, IOPEN, CLOSED → EOPEN
///    ▲ ▲                    │   ▲                    │      CLOSE: IOPEN, EOPEN → CLOSED, or
///    │ └─── RESET ──────────┘   │ write              │        EMPTY where nothing is written
///    └───── RESET ─── CLOSED ───┘        RESET ──────┘      FINISH: EMPTY to CLOSED → FULL
/// ```
/// Invariants
/// 1. `open` and `active` count the zones in those states; neither is above its limit.
/// 2. start ≤ pointer ≤ end of the capacity; at the start exactly where nothing is written.
/// 3. An operation that isn't OK has changed nothing, once ``undo()`` was called for it.
struct ZoneTable {
  /// One zone.
  struct Zone: Equatable {
    var state: ZoneState
    /// Where the next write goes: what is written, also of a full, read-only or lost zone.
    var pointer: UInt64
    /// When it was opened by a write: the oldest one is closed where room is needed.
    var opened: UInt64 = 0
  }

  let geometry: ZoneGeometry
  private(set) var zones: [Zone]
  private(set) var open = 0
  private(set) var active = 0
  /// The zones that the operation under way has changed, as they were.
  private(set) var changes: [(index: Int, before: Zone)] = []
  private var clock: UInt64 = 0

  /// All zones empty.
  init(_ geometry: ZoneGeometry) {
    self.geometry = geometry
    zones = (0..<geometry.count).map { index in
      Zone(
        state: geometry.kind(index) == .conventional ? .notWritePointer : .empty,
        pointer: geometry.start(index))
    }
  }

  /// The zones as they were left; they are good ones.
  init(_ geometry: ZoneGeometry, zones: [Zone]) {
    self.init(geometry)
    for (index, zone) in zones.enumerated() { set(index, zone.state, pointer: zone.pointer) }
    changes.removeAll()
  }

  // MARK: - Changes

  /// Begins an operation.
  mutating func begin() { changes.removeAll(keepingCapacity: true) }

  /// Takes back what the operation has changed.
  mutating func undo() {
    for change in changes.reversed() {
      set(change.index, change.before.state, pointer: change.before.pointer)
      zones[change.index].opened = change.before.opened
    }
    changes.removeAll(keepingCapacity: true)
  }

  private mutating func set(_ index: Int, _ state: ZoneState, pointer: UInt64? = nil) {
    let before = zones[index]
    changes.append((index, before))
    open += (state.isOpen ? 1 : 0) - (before.state.isOpen ? 1 : 0)
    active += (state.isActive ? 1 : 0) - (before.state.isActive ? 1 : 0)
    if state == .implicitlyOpen, before.state != .implicitlyOpen {
      clock += 1
      zones[index].opened = clock
    }
    zones[index].state = state
    zones[index].pointer = pointer ?? before.pointer
  }

  /// Makes room for a zone to be open; one that a write has opened may be closed for it.
  private mutating func admit(_ index: Int) -> RequestStatus {
    let state = zones[index].state
    if geometry.defects.contains(.zoneLimitsIgnored) { return .ok }
    if !state.isActive, geometry.maxActive > 0, active >= geometry.maxActive {
      return .zoneActiveResource
    }
    if state.isOpen || geometry.maxOpen == 0 || open < geometry.maxOpen { return .ok }
    let candidates = zones.indices.filter { zones[$0].state == .implicitlyOpen }
    guard let oldest = candidates.min(by: { zones[$0].opened < zones[$1].opened }) else {
      return .zoneOpenResource
    }
    set(oldest, .closed)
    return .ok
  }

  // MARK: - Commands

  /// The sequential zone that begins at `sector` and is not lost, or nil.
  private func target(_ sector: UInt64) -> Int? {
    guard sector < geometry.diskSectors else { return nil }
    let index = geometry.zone(of: sector)
    guard sector == geometry.start(index), zones[index].state != .notWritePointer,
      zones[index].state != .offline
    else { return nil }
    return index
  }

  mutating func open(_ sector: UInt64) -> RequestStatus {
    guard let index = target(sector), zones[index].state.isWritable else {
      return .zoneInvalidCommand
    }
    if zones[index].state == .explicitlyOpen { return .ok }
    let status = admit(index)
    if status == .ok { set(index, .explicitlyOpen) }
    return status
  }

  mutating func close(_ sector: UInt64) -> RequestStatus {
    guard let index = target(sector) else { return .zoneInvalidCommand }
    switch zones[index].state {
    case .closed: return .ok
    case .implicitlyOpen, .explicitlyOpen:
      let isEmpty =
        zones[index].pointer == geometry.start(index)
        && !geometry.defects.contains(.closesEmptyZones)
      set(index, isEmpty ? .empty : .closed)
      return .ok
    default: return .zoneInvalidCommand
    }
  }

  mutating func finish(_ sector: UInt64) -> RequestStatus {
    guard let index = target(sector) else { return .zoneInvalidCommand }
    if zones[index].state == .full { return .ok }
    guard zones[index].state.isWritable else { return .zoneInvalidCommand }
    set(index, .full)
    return .ok
  }

  mutating func reset(_ sector: UInt64) -> RequestStatus {
    guard let index = target(sector), zones[index].state != .readOnly else {
      return .zoneInvalidCommand
    }
    if zones[index].state != .empty { set(index, .empty, pointer: geometry.start(index)) }
    return .ok
  }

  /// Resets all zones that can be.
  ///
  /// - Returns: Which they are.
  mutating func resetAll() -> [Int] {
    let all = zones.indices.filter {
      zones[$0].state.isActive
        || zones[$0].state == .full && !geometry.defects.contains(.resetAllKeepsFull)
    }
    for index in all { set(index, .empty, pointer: geometry.start(index)) }
    return all
  }

  /// A zone becomes read-only, or is lost, by itself.
  mutating func fail(_ index: Int, _ state: ZoneState) { set(index, state) }

  // MARK: - Data

  /// A write of `count` sectors.
  mutating func write(_ sector: UInt64, _ count: UInt64) -> RequestStatus {
    guard count > 0 else { return .ok }
    let touched = touched(sector, count)
    if let one = touched.first(where: { geometry.kind($0) == .sequentialRequired }) {
      guard touched.count == 1 else { return .zoneInvalidCommand }
      return writeRequired(one, sector, count)
    }
    for index in touched where zones[index].state != .notWritePointer {
      let last = min(sector + count, geometry.end(index))
      let status = writePreferred(index, upTo: last)
      guard status == .ok else { return status }
    }
    return .ok
  }

  private mutating func writeRequired(
    _ index: Int, _ sector: UInt64, _ count: UInt64
  ) -> RequestStatus {
    let end = sector + count
    guard zones[index].state.isWritable, end <= geometry.capacityEnd(index) else {
      return .zoneInvalidCommand
    }
    guard sector == zones[index].pointer || geometry.defects.contains(.pointerIgnored),
      end % geometry.granularitySectors == 0
    else {
      return .zoneUnalignedWritePointer
    }
    return advance(index, to: end)
  }

  /// A write anywhere in a zone: its pointer is behind all that is written.
  private mutating func writePreferred(_ index: Int, upTo end: UInt64) -> RequestStatus {
    if zones[index].state == .full, end <= geometry.capacityEnd(index) { return .ok }
    guard zones[index].state.isWritable, end <= geometry.capacityEnd(index) else {
      return .zoneInvalidCommand
    }
    return advance(index, to: max(end, zones[index].pointer))
  }

  private mutating func advance(_ index: Int, to end: UInt64) -> RequestStatus {
    let status = admit(index)
    guard status == .ok else { return status }
    let isExplicit = zones[index].state == .explicitlyOpen
    let isFull = end == geometry.capacityEnd(index)
    set(index, isFull ? .full : isExplicit ? .explicitlyOpen : .implicitlyOpen, pointer: end)
    return .ok
  }

  /// An append of `count` sectors to the zone at `sector`.
  ///
  /// - Returns: The status, and the first sector of the data.
  mutating func append(_ sector: UInt64, _ count: UInt64) -> (status: RequestStatus, at: UInt64) {
    guard count <= geometry.maxAppendSectors else {
      return (geometry.maxAppendSectors == 0 ? .unsupported : .zoneInvalidCommand, 0)
    }
    guard count > 0, let index = target(sector),
      geometry.kind(index) == .sequentialRequired || geometry.defects.contains(.appendsAnywhere)
    else { return (.zoneInvalidCommand, 0) }
    let at = zones[index].pointer
    return (writeRequired(index, at, count), at)
  }

  /// Whether `count` sectors may be read.
  func read(_ sector: UInt64, _ count: UInt64) -> RequestStatus {
    guard count > 0 else { return .ok }
    let touched = touched(sector, count)
    let isSplit =
      touched.count > 1 && touched.contains { geometry.kind($0) == .sequentialRequired }
    let isLost = touched.contains { zones[$0].state == .offline }
    return isSplit || isLost ? .zoneInvalidCommand : .ok
  }

  /// How many of the `count` sectors from `sector` on are written data; the rest reads as zeroes.
  func written(_ sector: UInt64, _ count: UInt64) -> UInt64 {
    guard count > 0 else { return 0 }
    let index = geometry.zone(of: sector)
    guard geometry.kind(index) == .sequentialRequired else { return count }
    return min(count, max(zones[index].pointer, sector) - sector)
  }

  private func touched(_ sector: UInt64, _ count: UInt64) -> ClosedRange<Int> {
    geometry.zone(of: sector)...geometry.zone(of: sector + count - 1)
  }

  // MARK: - Report

  /// A report of as many zones as fit `byteCount` bytes, from the one of `sector` on.
  func report(from sector: UInt64, byteCount: UInt64) -> [UInt8] {
    typealias Layout = ZoneReportLayout
    let first = geometry.zone(of: sector)
    let room = (byteCount - UInt64(Layout.headerByteCount)) / UInt64(Layout.descriptorByteCount)
    let count = min(zones.count - first, Int(clamping: room))
    var bytes = [UInt8](
      repeating: 0, count: Layout.headerByteCount + count * Layout.descriptorByteCount)
    func put(_ value: UInt64, _ offset: Int) {
      for index in 0..<8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }
    put(UInt64(count) + (geometry.defects.contains(.reportCountsMore) ? 1 : 0), 0)
    for index in first..<(first + count) {
      let offset = Layout.headerByteCount + (index - first) * Layout.descriptorByteCount
      let zone = zones[index]
      put(geometry.capacityEnd(index) - geometry.start(index), offset + Layout.capacity)
      put(geometry.start(index), offset + Layout.start)
      put(zone.state.isWritable ? zone.pointer : .max, offset + Layout.writePointer)
      bytes[offset + Layout.type] = geometry.kind(index).rawValue
      bytes[offset + Layout.state] = zone.state.rawValue
    }
    return bytes
  }
}

extension ZoneState {
  /// Whether it takes an open resource.
  var isOpen: Bool { self == .implicitlyOpen || self == .explicitlyOpen }
  /// Whether it takes an active resource.
  var isActive: Bool { isOpen || self == .closed }
  /// Whether there is a write pointer, at which something can be written.
  var isWritable: Bool { isActive || self == .empty }
}
