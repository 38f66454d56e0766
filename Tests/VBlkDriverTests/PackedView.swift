import CHostIO
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A queue's packed ring from the device's side: a test reads what the driver made available, and
/// writes what a device would, or must not, write.
struct PackedView {
  /// A list of descriptors, and the entries of its table if it has one.
  struct List {
    let place: Int
    /// Of the ring.
    var descriptors: [PackedDescriptor] = []
    /// Header, data, status.
    var buffers: [PackedDescriptor] = []

    var id: UInt16 { descriptors.last?.id ?? 0 }

    var writableBytes: UInt32 {
      buffers.reduce(0) { $0 + ($1.flags.contains(.write) ? $1.length : 0) }
    }
  }

  let mapper: RecordingMapper
  let addresses: RingAddresses
  let size: Int
  /// Where the next available descriptor and the next used one are, counted over two turns.
  var taken = 0
  var used = 0

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

  private func place(_ position: Int) -> UnsafeMutableRawPointer {
    host(addresses.descriptors) + 16 * (position % size)
  }

  /// AVAIL and USED at a position: available in its turn, or used in it.
  func turn(_ position: Int, isUsed: Bool) -> DescriptorFlags {
    let isFirst = position % (2 * size) < size
    if isUsed { return isFirst ? [.available, .used] : [] }
    return isFirst ? .available : .used
  }

  func descriptor(_ position: Int) -> PackedDescriptor {
    place(position).load(as: PackedDescriptor.self)
  }

  /// The next list that is available, taken; nil where there is none.
  mutating func take() -> List? {
    var list = List(place: taken)
    repeat {
      let next = descriptor(taken)
      let turns: DescriptorFlags = [.available, .used]
      guard next.flags.intersection(turns) == turn(taken, isUsed: false) else { return nil }
      list.descriptors.append(next)
      taken += 1
    } while list.descriptors.last?.flags.contains(.next) == true && list.descriptors.count < size
    list.buffers = list.descriptors
    if let head = list.descriptors.first, head.flags.contains(.indirect) {
      list.buffers = (0..<Int(head.length) / 16).map {
        host(head.address + 16 * UInt64($0)).load(as: PackedDescriptor.self)
      }
    }
    return list
  }

  mutating func takeAll() -> [List] {
    var lists: [List] = []
    while let list = take() { lists.append(list) }
    return lists
  }

  func header(_ list: List) -> RequestHeader {
    host(list.buffers[0].address).loadUnaligned(as: RequestHeader.self)
  }

  // MARK: - What a device writes

  func writeStatus(_ list: List, _ status: UInt8) {
    guard let last = list.buffers.last else { return }
    chio_store8_once(host(last.address + UInt64(last.length) - 1), status)
  }

  /// Writes a used descriptor at the next used place, and skips as many as the list has.
  mutating func pushUsed(_ id: UInt16, _ length: UInt32, span: Int) {
    let flags = turn(used, isUsed: true).union(.write)
    let word = UInt64(length) | UInt64(id) << 32 | UInt64(flags.rawValue) << 48
    chio_store64_release(place(used) + 8, word)
    used += span
  }

  /// Ends a list as an honest device does.
  mutating func complete(_ list: List, status: UInt8 = 0) {
    writeStatus(list, status)
    pushUsed(list.id, list.writableBytes, span: list.descriptors.count)
  }

  /// The device event: when to be kicked.
  func setEvent(flags: UInt16, position: Int = 0) {
    let wrap: UInt32 = position % (2 * size) < size ? 1 << 15 : 0
    chio_store32_once(
      host(addresses.device), UInt32(flags) << 16 | wrap | UInt32(position % size))
  }

  var driverEvent: UInt32 { chio_load32_once(host(addresses.driver)) }
}
