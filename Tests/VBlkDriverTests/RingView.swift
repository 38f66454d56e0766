import CHostIO
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A queue's rings from the device's side: a test reads what the driver made available, and writes
/// what a device would, or must not, write.
struct RingView {
  let mapper: RecordingMapper
  let addresses: RingAddresses
  let size: Int

  init(_ queue: borrowing Queue, _ function: RecordingFunction) {
    mapper = function.mapper
    addresses = queue.memory.addresses
    size = queue.memory.layout.size
  }

  func host(_ address: UInt64) -> UnsafeMutableRawPointer {
    guard let pointer = mapper.host(address) else {
      preconditionFailure("device address 0x\(String(address, radix: 16)) is not mapped")
    }
    return pointer
  }

  private var avail: UnsafeMutableRawPointer { host(addresses.driver) }
  private var used: UnsafeMutableRawPointer { host(addresses.device) }

  // MARK: - What the driver wrote

  var availFlags: UInt16 { chio_load16_once(avail) }
  var availIndex: UInt16 { chio_load16_acquire(avail + SplitLayout.indexOffset) }
  var usedEvent: UInt16 { chio_load16_once(avail + SplitLayout.usedEventOffset(size: size)) }

  func availEntry(_ index: UInt16) -> UInt16 {
    chio_load16_once(avail + SplitLayout.ringOffset + 2 * (Int(index) % size))
  }

  func descriptor(_ index: Int) -> Descriptor {
    host(addresses.descriptors + 16 * UInt64(index)).load(as: Descriptor.self)
  }

  /// The chain at `head`, a table's entries in place of the descriptor that points to it; cut after
  /// 4,096, for a chain that runs in a circle.
  func chain(_ head: UInt16) -> Chain {
    var chain = Chain(head: head)
    var index = Int(head)
    var table: Descriptor?
    while chain.descriptors.count < 4096 {
      let next: Descriptor
      if let table {
        next = host(table.address + 16 * UInt64(index)).load(as: Descriptor.self)
      } else {
        next = descriptor(index)
        chain.ringDescriptors.append(next)
      }
      if next.flags.contains(.indirect), table == nil {
        chain.table = next
        table = next
        index = 0
        continue
      }
      chain.descriptors.append(next)
      guard next.flags.contains(.next) else { return chain }
      index = Int(next.next)
    }
    return chain
  }

  /// The chains from index `first` up to the published one.
  func chains(from first: UInt16) -> [Chain] {
    var all: [Chain] = []
    var index = first
    while index != availIndex, all.count < 65_536 {
      all.append(chain(availEntry(index)))
      index &+= 1
    }
    return all
  }

  func header(_ chain: Chain) -> RequestHeader {
    host(chain.descriptors[0].address).loadUnaligned(as: RequestHeader.self)
  }

  /// The bytes of the data descriptor at `index` of the chain.
  func bytes(_ descriptor: Descriptor) -> [UInt8] {
    Array(
      UnsafeRawBufferPointer(start: host(descriptor.address), count: Int(descriptor.length)))
  }

  // MARK: - What a device writes

  var usedIndex: UInt16 {
    get { chio_load16_once(used + SplitLayout.indexOffset) }
    nonmutating set { chio_store16_release(used + SplitLayout.indexOffset, newValue) }
  }

  var usedFlags: UInt16 {
    get { chio_load16_once(used) }
    nonmutating set { chio_store16_once(used, newValue) }
  }

  var availEvent: UInt16 {
    get { chio_load16_once(used + SplitLayout.availableEventOffset(size: size)) }
    nonmutating set {
      chio_store16_once(used + SplitLayout.availableEventOffset(size: size), newValue)
    }
  }

  func writeStatus(_ chain: Chain, _ status: UInt8) {
    guard let last = chain.descriptors.last else { return }
    chio_store8_once(host(last.address + UInt64(last.length) - 1), status)
  }

  /// Writes the next used entry and publishes it.
  func pushUsed(_ id: UInt32, _ length: UInt32) {
    let entry = used + SplitLayout.ringOffset + 8 * (Int(usedIndex) % size)
    chio_store32_once(entry, id)
    chio_store32_once(entry + 4, length)
    usedIndex &+= 1
  }

  /// Ends a chain as an honest device does.
  func complete(_ chain: Chain, status: UInt8 = 0) {
    writeStatus(chain, status)
    pushUsed(UInt32(chain.head), chain.writableBytes)
  }

  /// Overwrites the descriptor table and the available ring, index and flags too.
  func scribble(_ byte: UInt8) {
    host(addresses.descriptors).initializeMemory(
      as: UInt8.self, repeating: byte, count: SplitLayout.descriptorByteCount(size: size))
    avail.initializeMemory(
      as: UInt8.self, repeating: byte, count: SplitLayout.availableByteCount(size: size))
  }
}

/// A chain of descriptors as it stands in memory.
struct Chain {
  let head: UInt16
  /// Header, data, status.
  var descriptors: [Descriptor] = []
  /// The descriptors of the ring that it takes up.
  var ringDescriptors: [Descriptor] = []
  /// The descriptor that points to its table.
  var table: Descriptor?

  init(head: UInt16) { self.head = head }

  /// The descriptors between header and status.
  var data: ArraySlice<Descriptor> { descriptors.dropFirst().dropLast() }

  var dataBytes: Int { data.reduce(0) { $0 + Int($1.length) } }

  var writableBytes: UInt32 {
    descriptors.reduce(0) { $0 + ($1.flags.contains(.write) ? $1.length : 0) }
  }
}

/// An emulated disk behind a ``RecordingFunction``, and the device that was opened on it.
struct Rig {
  let disk: EmulatedDisk
  let function: RecordingFunction
  let device: Device

  init(
    bytes: UInt64 = 1 << 20, script: RecordingFunction.Script = RecordingFunction.Script(),
    disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws {
    let made = try Rig.make(bytes, script, change, edit)
    disk = made.disk
    function = made.function
    device = try Device(function, options: made.options)
  }

  private static func make(
    _ bytes: UInt64, _ script: RecordingFunction.Script,
    _ change: (inout EmulatedDisk.Configuration) -> Void, _ edit: (inout DeviceOptions) -> Void
  ) throws -> (disk: EmulatedDisk, function: RecordingFunction, options: DeviceOptions) {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: bytes))
    RingFormat.current.apply(to: &configuration)
    configuration.watchdog = true
    change(&configuration)
    var options = DeviceOptions()
    options.memoryByteCount = 2 << 20
    options.pages = .small
    options.deadlineNanoseconds = 2_000_000_000
    edit(&options)
    let disk = try EmulatedDisk(configuration, onBreach: noBreach)
    return (disk, RecordingFunction(disk.function, script: script), options)
  }

  /// What an open that must fail comes to: its error, nil if it worked, and the function.
  static func refusal(
    script: RecordingFunction.Script = RecordingFunction.Script(),
    disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws -> (error: VBlkError?, function: RecordingFunction) {
    let made = try make(1 << 20, script, change, edit)
    do throws(VBlkError) {
      _ = try Device(made.function, options: made.options)
      return (nil, made.function)
    } catch {
      return (error, made.function)
    }
  }

  func buffer(_ count: Int = 4096, fill: UInt8 = 0xEE) throws -> DMABuffer {
    var buffer = try device.memory.allocate(byteCount: count)
    buffer.withUnsafeMutableBytes { bytes in
      for index in bytes.indices { bytes[index] = fill }
    }
    return buffer
  }
}

/// A completion that was taken; its buffer has gone back to its arena.
struct Ended: Equatable {
  let tag: UInt64
  let result: IOResult
  /// Whether the buffer came back.
  let hasBuffer: Bool

  init(tag: UInt64, result: IOResult, hasBuffer: Bool) {
    self.tag = tag
    self.result = result
    self.hasBuffer = hasBuffer
  }

  /// An operation that failed, with its buffer back.
  init(tag: UInt64, code: VBlkError.Code) {
    self.init(tag: tag, result: IOResult(byteCount: 0, code: code), hasBuffer: true)
  }

  /// An operation that transferred all it had to, with its buffer back.
  init(tag: UInt64, bytes: Int) {
    self.init(tag: tag, result: IOResult(byteCount: bytes, code: nil), hasBuffer: true)
  }
}

extension Queue {
  /// Polls until a completion comes; nil after a bounded number of polls.
  mutating func take(_ polls: Int = 100_000) -> Ended? {
    guard let done = nextWithin(polls) else { return nil }
    let hasBuffer: Bool
    if case .some = done.buffer { hasBuffer = true } else { hasBuffer = false }
    return Ended(tag: done.tag, result: done.result, hasBuffer: hasBuffer)
  }

  /// Everything that comes until `count` are there or the polls are used up.
  mutating func takeAll(_ count: Int, _ polls: Int = 100_000) -> [Ended] {
    var all: [Ended] = []
    while all.count < count, let done = take(polls) { all.append(done) }
    return all
  }

  /// Submits a read of `count` bytes into a buffer of its own; false where it was not queued.
  mutating func queueRead(
    _ rig: Rig, at offset: UInt64 = 0, _ count: Int = 4096, tag: UInt64 = 0
  ) throws -> Bool {
    if case .queued = submitRead(at: offset, into: try rig.buffer(count), tag: tag) { return true }
    return false
  }

  /// Writes a block and reads it back: the device works.
  mutating func works(_ rig: Rig) throws -> Bool {
    let written = try rig.buffer(4096, fill: 0x3C)
    var read = try rig.buffer(4096)
    guard try write(at: 8192, from: written) == 4096 else { return false }
    guard try self.read(at: 8192, into: &read) == 4096 else { return false }
    return read.contents.allSatisfy { $0 == 0x3C }
  }
}
