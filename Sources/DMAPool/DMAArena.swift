import Synchronization

/// DMA memory that buffers are taken from: allocated once, then only handed out and back.
///
/// Its pages are in one memory file, mapped shared and present: 2 MiB pages where the machine has
/// free ones. It may be attached to several devices and has the same device addresses in each;
/// they are fixed by the first attach, so **attach it before you allocate**. Safe on all threads,
/// for the control plane: it locks and allocates. Mappers must not call back into the arena.
///
/// A buffer keeps its arena alive. The last reference unmaps it everywhere; if a device refuses
/// to unmap, the pages are left to it until the process ends.
public final class DMAArena: DMABlockOwner, @unchecked Sendable {
  /// The arena's number: from 1, never used twice in a process.
  public let number: UInt32
  /// Bytes, in whole pages.
  public let byteCount: Int
  /// Bytes of a page: 2 MiB or 4 KiB.
  public let pageByteCount: Int
  /// The NUMA node asked for; nil for any.
  public let node: Int?
  /// The NUMA node that the kernel reports for the memory; nil where it reports none.
  public let kernelNode: Int?
  /// Whether the pages can't be swapped out. False where RLIMIT_MEMLOCK forbids the lock; devices
  /// behind an IOMMU pin what they map by themselves.
  public let isLocked: Bool

  private struct State: ~Copyable {
    var mapping: DMAMapping
    var free: FreeList
    /// Nil once closed.
    var pages: SharedPages?
  }

  private let state: Mutex<State>

  /// Makes an arena.
  ///
  /// - Parameters:
  ///   - byteCount: Bytes wanted, more than 0; rounded up to whole pages.
  ///   - node: The NUMA node to take them from while it has room; nil or -1 for any.
  ///   - pages: Which pages.
  ///   - layout: How the device addresses lie.
  /// - Throws: ``DMAError``: `.invalidArgument` for a size, node or layout that can't be,
  ///   `.noMemory` where the system has no such memory.
  public init(
    byteCount: Int, node: Int? = nil, pages: PageChoice = .hugeIfAvailable,
    layout: RunLayout = .contiguous
  ) throws(DMAError) {
    guard byteCount > 0, byteCount <= Limits.maximumByteCount else {
      throw DMAError(
        .invalidArgument, "an arena of \(byteCount) bytes",
        remedy: "ask for 1 to \(Limits.maximumByteCount) bytes")
    }
    try DMAArena.check(layout)
    let chosen = try NUMANode.chosen(node)
    let shared = try SharedPages.make(byteCount: byteCount, node: chosen, pages: pages)
    number = DMAArena.nextNumber()
    self.byteCount = shared.byteCount
    pageByteCount = shared.pageByteCount
    isLocked = shared.isLocked
    self.node = chosen
    kernelNode = shared.kernelNode
    let mapping = unsafe DMAMapping(
      subject: "arena \(number)", number: number, start: shared.start,
      byteCount: shared.byteCount, choice: .layout(layout))
    state = Mutex(
      State(mapping: mapping, free: FreeList(byteCount: self.byteCount), pages: consume shared))
    super.init()
  }

  deinit {
    state.withLock { state in
      if !state.mapping.closeForGood() { state.pages.take()?.abandon() }
    }
  }

  // MARK: Devices

  /// Maps the arena for a device.
  ///
  /// The first attach chooses the device addresses; every other device must be able to take the
  /// same ones. On an error nothing has changed.
  ///
  /// - Throws: ``DMAError``: `.mapRefused` naming the device, `.notPinnable` where a device without
  ///   IOMMU meets pages that may move, `.invalidArgument` if it is attached there already,
  ///   `.closed`.
  public func attach(to mapper: any DMAMapper) throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in try state.mapping.attach(to: mapper) }
  }

  /// Ends the arena's mapping in a device; its device addresses stay reserved for the next attach.
  ///
  /// - Throws: ``DMAError``: `.inUse` while any buffer is out (its transfers may be with any of the
  ///   devices), `.notAttached`, `.closed`, or the device's own error: then call again.
  public func detach(from mapper: any DMAMapper) throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in try state.mapping.detach(from: mapper) }
  }

  /// Whether the device has the arena mapped.
  public func isAttached(to mapper: any DMAMapper) -> Bool {
    state.withLock { $0.mapping.isAttached(to: mapper) }
  }

  // MARK: Buffers

  /// Bytes that are free, not always in one piece.
  public var freeByteCount: Int { state.withLock { $0.mapping.isClosed ? 0 : $0.free.byteCount } }

  /// Buffers handed out and not yet back.
  public var buffersOut: Int { state.withLock { $0.mapping.blocksOut } }

  /// Takes a buffer: the first free bytes that fit.
  ///
  /// - Parameters:
  ///   - byteCount: Bytes wanted, more than 0. The buffer's capacity is this, rounded up to 64.
  ///   - alignment: What the buffer's address must be a multiple of: a power of two up to 2 MiB.
  ///     For the device it holds up to the bytes of a run.
  ///   - zeroed: Whether to clear the memory. If false it may still hold what its last user left.
  ///   - oneRun: Whether the device must find the whole buffer in one run, as a ring must be.
  /// - Returns: The buffer; it goes back when it dies.
  /// - Throws: ``DMAError``: `.exhausted` with sizes, `.invalidArgument`, `.notAttached` before the
  ///   first attach, `.closed`.
  public func allocate(
    byteCount: Int, alignment: Int = 4096, zeroed: Bool = true, oneRun: Bool = false
  ) throws(DMAError) -> DMABuffer {
    guard byteCount > 0, byteCount <= Limits.maximumByteCount else {
      throw DMAError(
        .invalidArgument, "a DMA buffer of \(byteCount) bytes", remedy: "ask for at least 1")
    }
    guard alignment > 0, alignment <= Limits.maximumAlignment, alignment.nonzeroBitCount == 1 else {
      throw DMAError(
        .invalidArgument, "a DMA buffer aligned to \(alignment) bytes",
        remedy: "ask for a power of two up to \(Limits.maximumAlignment)")
    }
    let capacity = roundedUp(byteCount, to: Limits.granule)
    let record = try state.withLock { (state) throws(DMAError) in
      let offset = try take(capacity, alignment, oneRun, &state)
      return try state.mapping.take(
        at: offset, byteCount: byteCount, capacity: capacity, owner: self)
    }
    if zeroed {
      unsafe record.pointer.pointee.base.initializeMemory(
        as: UInt8.self, repeating: 0, count: capacity)
    }
    return unsafe DMABuffer(block: record.pointer)
  }

  /// Takes a buffer back; ``DMABuffer`` calls it. Traps on a block that is not out.
  public override func release(_ block: UnsafeMutablePointer<DMABlock>) {
    let record = unsafe SendableRecord(pointer: block)
    state.withLock { state in
      let extent = state.mapping.give(record)
      state.free.give(extent)
    }
    unsafe Unmanaged.passUnretained(self).release()
  }

  /// Unmaps the arena everywhere and gives its memory back; every later use is `.closed`.
  ///
  /// - Throws: ``DMAError``: `.inUse` while buffers are out, `.closed`, or the error of a device
  ///   that did not unmap; then the arena is as before, less the devices that did.
  public func close() throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in
      try state.mapping.close("closed")
      state.pages = nil
    }
  }

  /// The memory file behind the arena, for a process to share it with; -1 once closed. It stays
  /// the arena's: duplicate it to keep it.
  public var fileDescriptor: CInt { state.withLock { $0.pages?.file ?? -1 } }
}

extension DMAArena {
  private static let lastNumber = Atomic<UInt32>(0)

  /// The next number of an arena, or of registered memory: both kinds share them.
  static func nextNumber() -> UInt32 {
    number(after: lastNumber.add(1, ordering: .relaxed).oldValue)
  }

  static func number(after last: UInt32) -> UInt32 {
    precondition(last < .max, "4 billion arenas were made: their numbers are used up")
    return last + 1
  }

  private static func check(_ layout: RunLayout) throws(DMAError) {
    guard case .scattered(let run, _) = layout else { return }
    guard run >= Limits.pageByteCount, run <= Limits.maximumByteCount, run.nonzeroBitCount == 1
    else {
      throw DMAError(
        .invalidArgument, "an arena scattered in runs of \(run) bytes",
        remedy: "use a power of two from \(Limits.pageByteCount) up")
    }
  }

  /// Takes `capacity` bytes; the arena must have its device addresses.
  private func take(
    _ capacity: Int, _ alignment: Int, _ oneRun: Bool, _ state: inout State
  ) throws(DMAError) -> Int {
    let placement = try state.mapping.requirePlacement()
    if oneRun, capacity > placement.runByteCount {
      throw DMAError(
        .exhausted,
        "\(capacity) bytes in one run, but arena \(number) has runs of "
          + "\(placement.runByteCount)", remedy: "ask for less, or for several runs")
    }
    let boundary = oneRun ? placement.runByteCount : nil
    guard let offset = state.free.take(capacity, alignment: alignment, within: boundary) else {
      throw DMAError(
        .exhausted,
        "\(capacity) bytes aligned to \(alignment), but arena \(number) has "
          + "\(state.free.byteCount) of \(byteCount) free, \(state.free.longest) in one piece",
        remedy: "let buffers go, or make a larger arena")
    }
    return offset
  }
}

extension DMAArena: CustomStringConvertible {
  /// As in "arena 1: 67108864 bytes in pages of 2097152, NUMA node 0, locked".
  public var description: String {
    let place = kernelNode.map { "NUMA node \($0)" } ?? "no NUMA node"
    return "arena \(number): \(byteCount) bytes in pages of \(pageByteCount), \(place), "
      + (isLocked ? "locked" : "not locked")
  }
}
