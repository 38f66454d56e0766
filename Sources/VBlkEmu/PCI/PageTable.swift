/// A mapping of the emulated IOMMU, or a cached copy of one: device addresses that are one run in
/// this process.
///
/// Invariant: `base ..< base + length` is mapped to `host ..< host + length` while a queue's lock
/// is held; an empty run has length 0 and matches no access.
@safe
struct Run {
  /// First device address.
  let base: UInt64
  /// Bytes.
  let length: UInt64
  /// First byte in this process.
  let host: UnsafeMutableRawPointer
  /// Offsets below this one are followed by ``shortByteCount`` bytes of the run.
  private let shortLimit: UInt64

  /// Longest access that ``short(_:)`` answers, in bytes.
  static var shortByteCount: UInt64 { 64 }

  init(base: UInt64, length: UInt64, host: UnsafeMutableRawPointer) {
    self.base = base
    self.length = length
    unsafe self.host = host
    shortLimit = length < Run.shortByteCount ? 0 : length - Run.shortByteCount + 1
  }

  /// No mapping.
  static var empty: Run {
    unsafe Run(
      base: 0, length: 0, host: UnsafeMutableRawPointer(bitPattern: 0x1000).unsafelyUnwrapped)
  }

  /// The offset of `address` if ``shortByteCount`` bytes from there on lie in the run.
  @inline(__always)
  func short(_ address: UInt64) -> Int? {
    let offset = address &- base
    return _fastPath(offset < shortLimit) ? Int(truncatingIfNeeded: offset) : nil
  }

  /// The offset of `address` if all `count` bytes from there on lie in the run.
  @inline(__always)
  func offset(_ address: UInt64, _ count: UInt64) -> Int? {
    let offset = address &- base
    guard _fastPath(offset < length), _fastPath(count <= length &- offset) else { return nil }
    return Int(truncatingIfNeeded: offset)
  }

  /// The memory of the run, for accesses that ``short(_:)`` or ``offset(_:_:)`` found inside.
  @inline(__always)
  var memory: SharedMemory { unsafe SharedMemory(host) }
}

/// The translation table of the emulated IOMMU: sparse, 2 MiB a leaf entry, two levels above it.
///
/// ```
/// address  47 ........ 35 | 34 ........ 21 | 20 ... 12 | 11 ... 0
///          directory 8192   leaf 16384       slot 512    byte
/// ```
/// A leaf entry is 0 (nothing), a run that has the 2 MiB page to itself, or, with bit 0 set, a
/// table of 512 entries, one a 4 KiB page. Runs carry their own bounds, so a run may be longer or
/// shorter than the page that names it.
///
/// Invariants
/// 1. An entry that is not 0 points to memory that this table allocated and hasn't freed.
/// 2. Changes are made with the locks of all queues held; lookups with the lock of one.
@safe
struct PageTable: @unchecked Sendable {
  typealias Leaf = UnsafeMutablePointer<UInt>
  private let directory: UnsafeMutablePointer<Leaf?>

  private static var directoryCount: Int { 1 << 13 }
  private static var leafCount: Int { 1 << 14 }
  private static var slotCount: Int { 512 }
  static var pageByteCount: UInt64 { 4096 }
  private static var largeByteCount: UInt64 { 1 << 21 }

  init() {
    unsafe directory = .allocate(capacity: PageTable.directoryCount)
    unsafe directory.initialize(repeating: nil, count: PageTable.directoryCount)
  }

  /// The run that holds `address`, or nil.
  func run(at address: UInt64) -> Run? {
    guard address >> Limits.addressBits == 0 else { return nil }
    guard let leaf = unsafe directory[Int(address >> 35)] else { return nil }
    var entry = unsafe leaf[Int(address >> 21) & (PageTable.leafCount - 1)]
    if entry & 1 == 1, let slots = unsafe Leaf(bitPattern: entry & ~1) {
      entry = unsafe slots[Int(address >> 12) & (PageTable.slotCount - 1)]
    }
    guard let run = unsafe UnsafePointer<Run>(bitPattern: entry) else { return nil }
    let copy = unsafe run.pointee
    return address &- copy.base < copy.length ? copy : nil
  }

  /// Whether any page of `base ..< base + length` is mapped.
  func overlaps(base: UInt64, length: UInt64) -> Bool {
    var address = base
    while address < base + length {
      if run(at: address) != nil { return true }
      address += PageTable.pageByteCount
    }
    return false
  }

  /// Adds a run that overlaps none; its bounds are whole pages under 2^48.
  func insert(_ run: Run) {
    let stored = UnsafeMutablePointer<Run>.allocate(capacity: 1)
    unsafe stored.initialize(to: run)
    let word = UInt(bitPattern: stored)
    unsafe forEachLargePage(of: run) { entry, range in
      let old = unsafe entry.pointee
      if old == 0 {
        unsafe entry.pointee = word
        return
      }
      var slots: Leaf
      if old & 1 == 1, let present = unsafe Leaf(bitPattern: old & ~1) {
        unsafe slots = present
      } else {
        unsafe slots = split(old, range)
        unsafe entry.pointee = UInt(bitPattern: slots) | 1
      }
      for slot in PageTable.slots(of: run, in: range) { unsafe slots[slot] = word }
    }
  }

  /// Makes a table of 512 entries that says what the one run `entry` said of the page.
  private func split(_ entry: UInt, _ page: Range<UInt64>) -> Leaf {
    let slots = Leaf.allocate(capacity: PageTable.slotCount)
    unsafe slots.initialize(repeating: 0, count: PageTable.slotCount)
    if let run = unsafe UnsafePointer<Run>(bitPattern: entry) {
      let covered = unsafe PageTable.slots(of: run.pointee, in: page)
      for slot in covered { unsafe slots[slot] = entry }
    }
    return unsafe slots
  }

  /// Removes the run that starts at `base` and has `length` bytes.
  ///
  /// - Returns: False if there is no such run; then nothing has changed.
  func remove(base: UInt64, length: UInt64) -> Bool {
    guard let run = run(at: base), run.base == base, run.length == length else { return false }
    var word: UInt = 0
    unsafe forEachLargePage(of: run) { entry, range in
      let old = unsafe entry.pointee
      if old & 1 == 1, let slots = unsafe Leaf(bitPattern: old & ~1) {
        for slot in PageTable.slots(of: run, in: range) {
          word = unsafe slots[slot]
          unsafe slots[slot] = 0
        }
      } else {
        word = old
        unsafe entry.pointee = 0
      }
    }
    if let stored = unsafe UnsafeMutablePointer<Run>(bitPattern: word) {
      unsafe stored.deallocate()
    }
    return true
  }

  /// The 4 KiB slots of the 2 MiB `page` that `run` covers.
  private static func slots(of run: Run, in page: Range<UInt64>) -> Range<Int> {
    let first = max(run.base, page.lowerBound) - page.lowerBound
    let end = min(run.base + run.length, page.upperBound) - page.lowerBound
    return Int(first / pageByteCount)..<Int(end / pageByteCount)
  }

  private func forEachLargePage(of run: Run, _ body: (Leaf, Range<UInt64>) -> Void) {
    var page = run.base / PageTable.largeByteCount
    let last = (run.base + run.length - 1) / PageTable.largeByteCount
    while page <= last {
      let start = page * PageTable.largeByteCount
      unsafe body(leafEntry(page), start..<start + PageTable.largeByteCount)
      page += 1
    }
  }

  private func leafEntry(_ page: UInt64) -> Leaf {
    let index = Int(page >> 14)
    let position = Int(page) & (PageTable.leafCount - 1)
    if let leaf = unsafe directory[index] { return unsafe leaf + position }
    let leaf = Leaf.allocate(capacity: PageTable.leafCount)
    unsafe leaf.initialize(repeating: 0, count: PageTable.leafCount)
    unsafe directory[index] = leaf
    return unsafe leaf + position
  }

  /// Frees the table itself; every run has been removed.
  func deallocate() {
    for index in 0..<PageTable.directoryCount {
      guard let leaf = unsafe directory[index] else { continue }
      for position in 0..<PageTable.leafCount {
        let entry = unsafe leaf[position]
        if entry & 1 == 1, let slots = unsafe Leaf(bitPattern: entry & ~1) {
          unsafe slots.deallocate()
        }
      }
      unsafe leaf.deallocate()
    }
    unsafe directory.deallocate()
  }
}
