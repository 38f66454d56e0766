/// The records of an owner's blocks: at stable addresses, used again and again.
@safe
struct BlockRecords: ~Copyable {
  private var slabs: [UnsafeMutablePointer<DMABlock>] = unsafe []
  private var unused: [UnsafeMutablePointer<DMABlock>] = unsafe []

  /// Records handed out.
  private(set) var inUse = 0

  deinit {
    for index in unsafe slabs.indices { unsafe slabs[index].deallocate() }
  }

  /// Hands out a record that holds `block`.
  mutating func take(_ block: DMABlock) -> UnsafeMutablePointer<DMABlock> {
    if unsafe unused.isEmpty { addSlab() }
    let record = unsafe unused.removeLast()
    unsafe record.initialize(to: block)
    inUse += 1
    return unsafe record
  }

  /// Takes a record back; it reads as nobody's until it is handed out again.
  mutating func give(_ record: UnsafeMutablePointer<DMABlock>) {
    unsafe record.pointee.arena = 0
    unsafe record.pointee.plainArena = 0
    unsafe unused.append(record)
    inUse -= 1
  }

  private mutating func addSlab() {
    let count = Limits.recordsPerSlab
    let slab = UnsafeMutablePointer<DMABlock>.allocate(capacity: count)
    unsafe slabs.append(slab)
    for index in (0..<count).reversed() { unsafe unused.append(slab + index) }
  }
}
