internal import CHostIO
internal import Glibc
internal import Synchronization

/// The regions of a function: registers that are mapped, and registers that are reached by calls.
///
/// Invariants
/// 1. An area lies inside its region, and inside a mapping of its own, until ``close()``.
/// 2. After ``close()``, or once an area is lost, every register reads all ones and no write
///    reaches anything.
///
/// The areas don't change but at ``close()``, which no access may follow; hence
/// `@unchecked Sendable`.
@safe
final class RegisterSpace: @unchecked Sendable {
  /// A mapped part of a region: `byteCount` bytes from `start` on, until the space is closed.
  @safe
  struct Area {
    let offset: UInt64
    let byteCount: Int
    let start: UnsafeMutableRawPointer
    let guardNumber: CInt

    /// Guards a mapping that has been made.
    init(offset: UInt64, byteCount: Int, start: UnsafeMutableRawPointer) throws(PCIError) {
      self.offset = offset
      self.byteCount = byteCount
      unsafe self.start = start
      guardNumber = try unsafe RegisterGuard.add(start, byteCount: byteCount)
    }

    func holds(_ position: UInt64, count: Int) -> Bool {
      position >= offset && position - offset <= UInt64(byteCount)
        && UInt64(byteCount) - (position - offset) >= UInt64(count)
    }
  }

  struct Region {
    var byteCount: UInt64 = 0
    var areas: [Area] = []
    /// Where calls find the registers that are not mapped.
    var file: (file: HostFile, offset: UInt64)?
    var way = ""
  }

  private let regions: [Region]
  private let isClosed = Atomic<Bool>(false)

  /// Takes six regions, with their mappings.
  init(_ regions: [Region]) {
    precondition(regions.count == 6, "a function has six regions")
    self.regions = regions
  }

  deinit { close() }

  /// The regions that decode something.
  var described: [PCIRegion] {
    regions.enumerated().filter { $0.element.byteCount > 0 }.map { index, region in
      PCIRegion(
        index: index, byteCount: region.byteCount,
        mapped: region.areas.map { $0.offset..<$0.offset + UInt64($0.byteCount) },
        way: region.way)
    }
  }

  func byteCount(_ region: Int) -> UInt64 {
    regions.indices.contains(region) ? regions[region].byteCount : 0
  }

  /// Whether a mapping of the function has been taken away.
  var isLost: Bool {
    regions.contains { $0.areas.contains { RegisterGuard.isLost($0.guardNumber) } }
  }

  func mapped(_ region: Int, _ offset: UInt64, _ count: Int) -> UnsafeMutableRawPointer? {
    guard regions.indices.contains(region),
      let area = regions[region].areas.first(where: { $0.holds(offset, count: count) })
    else { return nil }
    return unsafe area.start + Int(offset - area.offset)
  }

  func read(_ region: Int, _ offset: UInt64, _ width: Int) -> UInt32 {
    let ones = UInt32.max >> UInt32(32 - 8 * width)
    check(region, offset, width)
    guard !isClosed.load(ordering: .relaxed), !isLost else { return ones }
    guard let register = unsafe mapped(region, offset, width) else {
      guard let (file, start) = regions[region].file else { return ones }
      return file.read(at: start + offset, width: width) ?? ones
    }
    switch width {
    case 1: return unsafe UInt32(chio_mmio_read8(register))
    case 2: return unsafe UInt32(chio_mmio_read16(register))
    default: return unsafe chio_mmio_read32(register)
    }
  }

  func write(_ region: Int, _ offset: UInt64, _ width: Int, _ value: UInt32) {
    check(region, offset, width)
    guard !isClosed.load(ordering: .relaxed), !isLost else { return }
    guard let register = unsafe mapped(region, offset, width) else {
      if let (file, start) = regions[region].file {
        _ = file.write(at: start + offset, width: width, value: value)
      }
      return
    }
    switch width {
    case 1: unsafe chio_mmio_write8(register, UInt8(truncatingIfNeeded: value))
    case 2: unsafe chio_mmio_write16(register, UInt16(truncatingIfNeeded: value))
    default: unsafe chio_mmio_write32(register, value)
    }
  }

  private func check(_ region: Int, _ offset: UInt64, _ width: Int) {
    precondition(
      width == 1 || width == 2 || width == 4, "a register is 1, 2 or 4 bytes, not \(width)")
    let count = byteCount(region)
    precondition(
      offset <= count && count - offset >= UInt64(width) && offset % UInt64(width) == 0,
      "\(width) bytes at \(offset) of region \(region), which has \(count)")
  }

  /// Unmaps everything. May be repeated.
  func close() {
    guard !isClosed.exchange(true, ordering: .relaxed) else { return }
    for area in regions.flatMap(\.areas) {
      RegisterGuard.remove(area.guardNumber)
      unsafe munmap(area.start, area.byteCount)
    }
  }
}
