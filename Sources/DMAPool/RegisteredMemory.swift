import Synchronization

/// What to do about pages of the user's memory that can't be read and written.
public enum HolePolicy: Sendable, Equatable {
  /// Refuse the memory.
  case refuse
  /// Leave them out: a transfer over one of them is a page error.
  case allow
}

/// The user's own pages, registered for DMA: mapped once a device, used without a copy.
///
/// The pages that enclose the memory are locked and kept out of children (MADV_DONTFORK), so that a
/// fork can't move them under a device; a child has no access to any byte of them. The memory must
/// stay mapped until it is unregistered. **Attach it before you slice it.** Safe on all threads,
/// for the control plane: it locks and allocates. Mappers must not call back into it.
///
/// Slices keep the registration alive. The last reference unmaps and unlocks it.
public final class RegisteredMemory: DMABlockOwner, @unchecked Sendable {
  /// The memory's number: of the same row as the numbers of arenas, never used twice.
  public let number: UInt32
  /// Bytes registered.
  public let byteCount: Int
  /// Whether all pages are locked. False where RLIMIT_MEMLOCK forbids it; devices behind an IOMMU
  /// pin what they map by themselves.
  public let isLocked: Bool
  /// The first byte that can't be read and written, counted from the start; nil if there is none.
  public let firstHole: Int?

  private struct State: ~Copyable {
    var mapping: DMAMapping
    /// What is locked; empty once unregistered.
    var locked: [Range<UInt>]

    mutating func letGo() {
      LockedPages.shared.letGo(locked)
      locked = []
    }
  }

  /// Where the memory starts in its first page, in bytes.
  private let head: Int
  private let state: Mutex<State>

  /// Registers memory.
  ///
  /// - Parameters:
  ///   - memory: At least 1 byte, at any address. All of each page that it touches becomes
  ///     reachable for the devices that it is attached to.
  ///   - holes: What to do about pages that can't be read and written.
  /// - Throws: ``DMAError``: `.invalidArgument` for no memory, `.notPinnable` naming the first
  ///   hole, `.lockRefused` if the pages can't be kept out of children.
  public init(
    _ memory: UnsafeMutableRawBufferPointer, holes: HolePolicy = .refuse
  ) throws(DMAError) {
    guard let first = memory.baseAddress, memory.count > 0 else {
      throw DMAError(
        .invalidArgument, "no memory to register", remedy: "register at least one byte")
    }
    let pages = try unsafe RegisteredMemory.enclosingPages(memory)
    let start = UInt(bitPattern: memory.baseAddress)
    let map = try RegisteredMemory.processMap()
    let parts = map.readWriteParts(of: pages)
    let gap = parts.firstGap(in: pages).map { max($0, start) }
    if let gap, holes == .refuse || parts.isEmpty {
      throw DMAError(
        .notPinnable,
        "byte \(gap - start) of the memory at \(hex(UInt64(start))), at address "
          + "\(hex(UInt64(gap))), can't be read and written",
        remedy: "map it for reading and writing, or register with holes allowed")
    }
    let lockable = map.wholePages(of: parts)
    do throws(SystemError) {
      isLocked = try LockedPages.shared.hold(lockable)
    } catch {
      throw DMAError(
        .lockRefused,
        "the memory at \(hex(UInt64(start))) can't be kept out of children (\(error))",
        remedy: "keep it mapped, and register fewer, larger pieces (vm.max_map_count)")
    }
    byteCount = memory.count
    firstHole = gap.map { Int($0 - start) }
    head = Int(start - pages.lowerBound)
    number = DMAArena.nextNumber()
    let mapping = unsafe DMAMapping(
      subject: "registered memory \(number)", number: number,
      start: first - head, byteCount: pages.count,
      choice: gap == nil ? .layout(.contiguous) : .holes(parts.holes(in: pages)))
    state = Mutex(State(mapping: mapping, locked: lockable))
    super.init()
  }

  deinit {
    state.withLock { state in
      // If a device did not let go, the pages stay locked: it may still write them.
      if state.mapping.closeForGood() { state.letGo() }
    }
  }

  // MARK: Devices

  /// Maps the memory for a device, as ``DMAArena/attach(to:)`` does.
  ///
  /// - Throws: ``DMAError``: `.mapRefused` naming the device, `.notPinnable` where a device without
  ///   IOMMU meets pages that may move, `.invalidArgument` if it is attached there already,
  ///   `.closed`.
  public func attach(to mapper: any DMAMapper) throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in try state.mapping.attach(to: mapper) }
  }

  /// Ends the mapping in a device, as ``DMAArena/detach(from:)`` does.
  ///
  /// - Throws: ``DMAError``: `.inUse` while any slice is out, `.notAttached`, `.closed`, or the
  ///   device's own error: then call again.
  public func detach(from mapper: any DMAMapper) throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in try state.mapping.detach(from: mapper) }
  }

  /// Whether the device has the memory mapped.
  public func isAttached(to mapper: any DMAMapper) -> Bool {
    state.withLock { $0.mapping.isAttached(to: mapper) }
  }

  // MARK: Slices

  /// Slices handed out and not yet back.
  public var slicesOut: Int { state.withLock { $0.mapping.blocksOut } }

  /// A buffer that is a part of the memory; nothing is copied. Slices may overlap.
  ///
  /// - Parameter range: Bytes from the start of the memory, at least one.
  /// - Returns: The buffer.
  /// - Throws: ``DMAError``: `.invalidArgument`, `.notAttached` before the first attach, `.closed`.
  public func slice(_ range: Range<Int>) throws(DMAError) -> DMABuffer {
    guard !range.isEmpty, range.lowerBound >= 0, range.upperBound <= byteCount else {
      throw DMAError(
        .invalidArgument, "bytes \(range) of registered memory \(number), which has \(byteCount)",
        remedy: "slice at least one byte inside the memory")
    }
    let record = try state.withLock { (state) throws(DMAError) in
      try state.mapping.take(
        at: head + range.lowerBound, byteCount: range.count, capacity: range.count, owner: self)
    }
    return unsafe DMABuffer(block: record.pointer)
  }

  /// Takes a slice back; ``DMABuffer`` calls it. Traps on a block that is not out.
  public override func release(_ block: UnsafeMutablePointer<DMABlock>) {
    let record = unsafe SendableRecord(pointer: block)
    state.withLock { state in _ = state.mapping.give(record) }
    unsafe Unmanaged.passUnretained(self).release()
  }

  /// Unmaps the memory everywhere and unlocks its pages; every later use is `.closed`.
  ///
  /// - Throws: ``DMAError``: `.inUse` while slices are out, `.closed`, or the error of a device
  ///   that did not unmap; then the memory is as before, less the devices that did.
  public func unregister() throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in
      try state.mapping.close("unregistered")
      state.letGo()
    }
  }
}

extension RegisteredMemory: CustomStringConvertible {
  /// As in "registered memory 2: 8192 bytes, locked".
  public var description: String {
    "registered memory \(number): \(byteCount) bytes, \(isLocked ? "locked" : "not locked")"
  }
}

extension RegisteredMemory {
  private static func enclosingPages(
    _ memory: UnsafeMutableRawBufferPointer
  ) throws(DMAError) -> Range<UInt> {
    let start = UInt(bitPattern: memory.baseAddress)
    let (end, overflow) = start.addingReportingOverflow(UInt(memory.count))
    let page = UInt(Limits.pageByteCount)
    guard !overflow, end <= .max - page else {
      throw DMAError(
        .invalidArgument,
        "\(memory.count) bytes at \(hex(UInt64(start))) reach beyond all addresses",
        remedy: "register memory of this process")
    }
    return start & ~(page - 1)..<(end + page - 1) & ~(page - 1)
  }

  private static func processMap() throws(DMAError) -> ProcessMap {
    do throws(SystemError) {
      return try ProcessMap(detailed: true)
    } catch {
      throw DMAError(
        .noMemory, "the memory of this process can't be listed (\(error))",
        remedy: "mount /proc, and let the process open one more file")
    }
  }
}
