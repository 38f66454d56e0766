import CHostIO
import Glibc
import VBlkEmu
import Virtio

/// A piece of a chain as a driver writes it.
struct Piece {
  var address: UInt64
  var length: UInt32
  var writable: Bool

  static func out(_ address: UInt64, _ length: Int) -> Piece {
    Piece(address: address, length: UInt32(length), writable: false)
  }
  static func into(_ address: UInt64, _ length: Int) -> Piece {
    Piece(address: address, length: UInt32(length), writable: true)
  }
}

/// A driver of a few lines: rings in plain memory, registers by number, nothing checked, so that a
/// test can break every rule. One thread.
final class MiniDriver {
  /// A queue that was set up.
  struct Ring {
    var size = 0
    var descriptors = 0
    var available = 0
    var used = 0
    var availableIndex: UInt16 = 0
    var usedSeen: UInt16 = 0
    var freeDescriptor = 0
    /// Where it is, if it is a packed one.
    var packed = PackedPlace()
  }

  static let memoryByteCount = 8 << 20
  static let base: UInt64 = 0x12_3456_7000

  let disk: EmulatedDisk
  let function: any PCIFunction
  let memory: UnsafeMutableRawPointer
  var rings: [Ring] = []
  private var top = 0
  private(set) var features: Features = []

  init(_ disk: EmulatedDisk) throws {
    self.disk = disk
    function = disk.function
    memory = MiniDriver.map(MiniDriver.memoryByteCount)
    try function.dma.map(
      memory, byteCount: MiniDriver.memoryByteCount, deviceAddress: MiniDriver.base)
    try function.setBusMaster(true)
  }

  /// Anonymous memory.
  static func map(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else { fatalError("no memory for a test") }
    return memory
  }

  /// A driver of a disk that makes the mistake that `VBLK_DEFECT` names, if it names one: by that
  /// `make checklist` proves each row's tests.
  convenience init(_ configuration: EmulatedDisk.Configuration) throws {
    var configuration = configuration
    if let name = getenv("VBLK_DEFECT") { try configuration.makeMistake(String(cString: name)) }
    try self.init(EmulatedDisk(configuration))
  }

  deinit {
    function.close()
    munmap(memory, MiniDriver.memoryByteCount)
  }

  // Registers.

  func read(_ register: UInt64, _ width: Int) -> UInt32 {
    function.read(region: 0, offset: register, width: width)
  }
  func write(_ register: UInt64, _ width: Int, _ value: UInt32) {
    function.write(region: 0, offset: register, width: width, value: value)
  }
  func read64(_ register: UInt64) -> UInt64 {
    UInt64(read(register, 4)) | UInt64(read(register + 4, 4)) << 32
  }
  func write64(_ register: UInt64, _ value: UInt64) {
    write(register, 4, UInt32(truncatingIfNeeded: value))
    write(register + 4, 4, UInt32(truncatingIfNeeded: value >> 32))
  }
  func config(_ offset: Int, _ width: Int) -> UInt32 { read(0x2000 + UInt64(offset), width) }

  var status: DeviceStatus {
    get { DeviceStatus(rawValue: UInt8(read(CommonConfig.deviceStatus, 1))) }
    set { write(CommonConfig.deviceStatus, 1, UInt32(newValue.rawValue)) }
  }

  var offered: Features {
    write(CommonConfig.deviceFeatureSelect, 4, 0)
    let low = read(CommonConfig.deviceFeature, 4)
    write(CommonConfig.deviceFeatureSelect, 4, 1)
    return Features(rawValue: UInt64(low) | UInt64(read(CommonConfig.deviceFeature, 4)) << 32)
  }

  func accept(_ features: Features) {
    self.features = features
    for half in 0..<2 {
      write(CommonConfig.driverFeatureSelect, 4, UInt32(half))
      write(
        CommonConfig.driverFeature, 4,
        UInt32(truncatingIfNeeded: features.rawValue >> UInt64(32 * half)))
    }
  }

  /// Reset to FEATURES_OK.
  func negotiate(without: Features = []) {
    status = []
    _ = status
    status = .acknowledge
    status = [.acknowledge, .driver]
    accept(offered.subtracting(without))
    status = [.acknowledge, .driver, .featuresOK]
    _ = status
  }

  /// Whether its rings are packed ones.
  var isPacked: Bool { features.contains(.ringPacked) }

  /// Reset to DRIVER_OK with `queues` queues.
  func start(without: Features = [], queues: Int = 1, size: Int = 64) {
    negotiate(without: without)
    for queue in 0..<queues { setUp(queue, size: size) }
    status = [.acknowledge, .driver, .featuresOK, .driverOK]
  }

  /// Allocates and enables a queue, with room for `slack` descriptors behind its ring.
  func setUp(_ queue: Int, size: Int, vector: UInt16? = nil, slack: Int = 0) {
    var ring = Ring()
    ring.size = size
    ring.descriptors = allocate(SplitLayout.descriptorByteCount(size: size + slack), 16)
    ring.available = allocate(
      isPacked ? PackedLayout.eventByteCount : SplitLayout.availableByteCount(size: size), 4)
    ring.used = allocate(
      isPacked ? PackedLayout.eventByteCount : SplitLayout.usedByteCount(size: size), 4)
    while rings.count <= queue { rings.append(Ring()) }
    rings[queue] = ring
    write(CommonConfig.queueSelect, 2, UInt32(queue))
    write(CommonConfig.queueSize, 2, UInt32(size))
    if let vector { write(CommonConfig.queueVector, 2, UInt32(vector)) }
    write64(CommonConfig.queueDescriptors, address(ring.descriptors))
    write64(CommonConfig.queueDriver, address(ring.available))
    write64(CommonConfig.queueDevice, address(ring.used))
    write(CommonConfig.queueEnable, 2, 1)
  }

  // Memory.

  func allocate(_ byteCount: Int, _ alignment: Int = 16) -> Int {
    top = (top + alignment - 1) & ~(alignment - 1)
    defer { top += byteCount }
    precondition(top + byteCount <= MiniDriver.memoryByteCount)
    memset(memory + top, 0, byteCount)
    return top
  }
  func address(_ offset: Int) -> UInt64 { MiniDriver.base + UInt64(offset) }
  func offset(_ address: UInt64) -> Int { Int(address - MiniDriver.base) }
  func store<T: BitwiseCopyable>(_ offset: Int, _ value: T) {
    (memory + offset).storeBytes(of: value, as: T.self)
  }
  func load<T: BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
    (memory + offset).loadUnaligned(as: T.self)
  }
  /// A word that the device may be writing.
  func load16(_ offset: Int) -> UInt16 { chio_load16_once(memory + offset) }
  func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { load(offset(address) + $0, UInt8.self) }
  }
  func fill(_ address: UInt64, _ bytes: [UInt8]) {
    for (index, byte) in bytes.enumerated() { store(offset(address) + index, byte) }
  }

  // Rings.

  func writeDescriptor(
    at offset: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16
  ) {
    store(offset, address)
    store(offset + 8, length)
    store(offset + 12, flags)
    store(offset + 14, next)
  }

  /// Writes a chain into the ring's next descriptors.
  ///
  /// - Returns: Its head.
  func chain(_ pieces: [Piece], queue: Int = 0) -> UInt16 {
    let size = rings[queue].size
    let first = rings[queue].freeDescriptor
    for (index, piece) in pieces.enumerated() {
      let slot = (first + index) % size
      let last = index == pieces.count - 1
      writeDescriptor(
        at: rings[queue].descriptors + 16 * slot, piece.address, piece.length,
        (piece.writable ? 2 : 0) | (last ? 0 : 1), last ? 0 : UInt16((slot + 1) % size))
    }
    rings[queue].freeDescriptor = (first + pieces.count) % size
    return UInt16(first)
  }

  /// Writes a chain into a table of its own, with its one descriptor in the ring.
  func table(_ pieces: [Piece], queue: Int = 0, alignment: Int = 16, shift: Int = 0) -> UInt16 {
    let table = allocate(16 * pieces.count + shift, alignment) + shift
    for (index, piece) in pieces.enumerated() {
      let last = index == pieces.count - 1
      writeDescriptor(
        at: table + 16 * index, piece.address, piece.length,
        (piece.writable ? 2 : 0) | (last ? 0 : 1), last ? 0 : UInt16(index + 1))
    }
    let slot = rings[queue].freeDescriptor
    writeDescriptor(
      at: rings[queue].descriptors + 16 * slot, address(table), UInt32(16 * pieces.count), 4, 0)
    rings[queue].freeDescriptor = (slot + 1) % rings[queue].size
    return UInt16(slot)
  }

  /// Makes a head available; the index is published by ``publish(queue:)``.
  func push(_ head: UInt16, queue: Int = 0) {
    let slot = Int(rings[queue].availableIndex) % rings[queue].size
    store(rings[queue].available + 4 + 2 * slot, head)
    rings[queue].availableIndex &+= 1
  }
  func publish(queue: Int = 0) {
    chio_store16_release(memory + rings[queue].available + 2, rings[queue].availableIndex)
    chio_fence_full()
  }
  func ring(_ queue: Int = 0) { write(0x3000 + UInt64(4 * queue), 2, UInt32(queue)) }

  /// Makes a head available and kicks.
  func submit(_ head: UInt16, queue: Int = 0) {
    push(head, queue: queue)
    publish(queue: queue)
    ring(queue)
  }

  /// The next used entry, or nil.
  func used(queue: Int = 0) -> (id: UInt32, length: UInt32)? {
    let index = chio_load16_acquire(memory + rings[queue].used + 2)
    guard index != rings[queue].usedSeen else { return nil }
    let slot = Int(rings[queue].usedSeen) % rings[queue].size
    rings[queue].usedSeen &+= 1
    let entry = rings[queue].used + 4 + 8 * slot
    return (load(entry, UInt32.self), load(entry + 4, UInt32.self))
  }

  func usedIndex(queue: Int = 0) -> UInt16 {
    chio_load16_acquire(memory + rings[queue].used + 2)
  }

  /// What used_event or avail.flags says of notifications.
  func setUsedEvent(_ value: UInt16, queue: Int = 0) {
    store(rings[queue].available + SplitLayout.usedEventOffset(size: rings[queue].size), value)
  }
  func availableEvent(queue: Int = 0) -> UInt16 {
    load16(rings[queue].used + SplitLayout.availableEventOffset(size: rings[queue].size))
  }

  // Requests.

  /// Memory of one request: header, status, and their addresses.
  struct Parts {
    var header: UInt64
    var status: UInt64
  }

  func parts(_ type: UInt32, _ sector: UInt64) -> Parts {
    let header = allocate(32)
    store(header, type)
    store(header + 8, sector)
    store(header + 24, UInt8(0xFF))
    return Parts(header: address(header), status: address(header + 24))
  }

  /// A whole request of the plain shape: its pieces and where its status is.
  func request(
    _ type: RequestType, _ sector: UInt64, _ data: [Piece]
  ) -> (pieces: [Piece], status: UInt64) {
    let parts = parts(type.rawValue, sector)
    return ([.out(parts.header, 16)] + data + [.into(parts.status, 1)], parts.status)
  }

  /// Does one request and waits for it, inline.
  ///
  /// - Returns: The status byte and the used length; nil if it didn't complete.
  func perform(
    _ type: RequestType, _ sector: UInt64 = 0, _ data: [Piece] = [], indirect: Bool = false,
    queue: Int = 0
  ) -> (status: UInt8, length: UInt32)? {
    let request = request(type, sector, data)
    return perform(request.pieces, status: request.status, indirect: indirect, queue: queue)
  }

  func perform(
    _ pieces: [Piece], status: UInt64, indirect: Bool = false, queue: Int = 0
  ) -> (status: UInt8, length: UInt32)? {
    let head = indirect ? table(pieces, queue: queue) : chain(pieces, queue: queue)
    submit(head, queue: queue)
    guard let entry = used(queue: queue), entry.id == UInt32(head) else { return nil }
    return (load(offset(status), UInt8.self), entry.length)
  }

  func write(_ bytes: [UInt8], sector: UInt64) -> UInt8? {
    let data = address(allocate(bytes.count, 512))
    fill(data, bytes)
    return perform(.write, sector, [.out(data, bytes.count)])?.status
  }

  func read(sector: UInt64, _ count: Int) -> [UInt8]? {
    let data = address(allocate(count, 512))
    guard perform(.read, sector, [.into(data, count)])?.status == 0 else { return nil }
    return bytes(data, count)
  }
}
