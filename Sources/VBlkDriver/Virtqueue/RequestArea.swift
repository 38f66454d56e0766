public import CHostIO
public import Virtio

/// A slot's request area: 128 bytes, two cache lines. The first is written by us and read by the
/// device, the second is written by the device.
/// ```
///   0 header 16 | 16 plain table: header, data, status descriptors 48
///  64 append sector 8 | 72 status 1
///  80 payload 48: up to three ranges of 16, or the answer of GET_ID 20 or GET_LIFETIME 6
/// ```
/// Invariant: `run` is these 128 bytes; everything here stays inside them.
@safe
@frozen
@usableFromInline
struct RequestArea {
  @usableFromInline let run: SharedRun

  static let stride = 128
  @inlinable static var shift: Int { 7 }
  @inlinable static var tableOffset: Int { 16 }
  static let appendSectorOffset = 64
  /// Right behind the append sector, as one device-writable piece.
  @inlinable static var statusOffset: Int { 72 }
  @inlinable static var tableByteCount: Int { 48 }
  static let payloadOffset = 80
  static let payloadByteCount = 48
  /// Ranges that the payload holds.
  static let rangeCapacity = 3

  @inlinable @inline(__always)
  init(_ run: SharedRun) { self.run = run }

  /// Writes the header, and a status that no device writes (virtio 1.2, 5.2.6).
  @inlinable @inline(__always)
  func write(_ type: RequestType, sector: UInt64) {
    unsafe run.base.storeBytes(of: UInt64(type.rawValue), as: UInt64.self)
    unsafe run.base.storeBytes(of: sector, toByteOffset: 8, as: UInt64.self)
    unsafe chio_store8_once(run.base + RequestArea.statusOffset, RequestStatus.poison)
  }

  /// What the device says, read once.
  @inlinable @inline(__always)
  var status: UInt8 { unsafe chio_load8_once(run.base + RequestArea.statusOffset) }

  /// Brings both lines near, to read the status and to write the next request.
  func prefetch() {
    unsafe chio_prefetch_write(run.base + RequestArea.statusOffset)
    unsafe chio_prefetch_write(run.base)
  }

  /// Writes a range of a discard, write-zeroes or secure erase into the payload.
  func write(_ range: RangeSegment, at index: Int) {
    precondition(index < RequestArea.rangeCapacity, "a range beyond the payload")
    unsafe run.base.storeBytes(
      of: range, toByteOffset: RequestArea.payloadOffset + index * Int(RangeSegment.byteCount),
      as: RangeSegment.self)
  }

  /// Writes an append sector that no device has.
  func poisonAppendSector() {
    unsafe run.base.storeBytes(
      of: .max, toByteOffset: RequestArea.appendSectorOffset, as: UInt64.self)
  }

  /// Where the device says that it has appended, read once.
  var appendSector: UInt64 {
    unsafe run.base.load(fromByteOffset: RequestArea.appendSectorOffset, as: UInt64.self)
  }

  /// The first bytes of the payload, copied.
  func answer(byteCount: Int) -> [UInt8] {
    precondition(byteCount <= RequestArea.payloadByteCount, "an answer longer than the payload")
    return unsafe Array(
      UnsafeRawBufferPointer(start: run.base + RequestArea.payloadOffset, count: byteCount))
  }

  /// The table of the slot's plain chain, used with INDIRECT_DESC.
  var table: DescriptorTable {
    DescriptorTable(run.advanced(by: RequestArea.tableOffset), count: 3)
  }

  // Device addresses.
  @inlinable @inline(__always)
  var header: UInt64 { run.deviceAddress }
  @inlinable @inline(__always)
  var statusByte: UInt64 { run.deviceAddress &+ UInt64(RequestArea.statusOffset) }
  var payload: UInt64 { run.deviceAddress + UInt64(RequestArea.payloadOffset) }

  /// What ends the chain of an operation: the status byte, behind the append sector of an append.
  func tail(_ operation: Operation) -> DeviceSegment {
    let answer = operation.answerByteCount
    return DeviceSegment(address: statusByte - UInt64(answer), byteCount: answer + 1)
  }
}

/// The request areas of a queue, by head.
///
/// Invariant: `run` holds `count` of them, and a head is below `count`: see ``Table``.
@safe
@frozen
@usableFromInline
struct RequestAreas {
  @usableFromInline let run: SharedRun
  @usableFromInline let count: UInt32

  init(_ run: SharedRun, count: Int) {
    self.run = run
    self.count = UInt32(count)
  }

  @inlinable @inline(__always)
  subscript(head: Int) -> RequestArea {
    assert(head >= 0 && head < count, "request area \(head) of \(count)")
    return RequestArea(run.advanced(by: head &<< RequestArea.shift))
  }

  @inlinable @inline(__always)
  subscript(head: UInt32) -> RequestArea {
    assert(head < count, "request area \(head) of \(count)")
    return RequestArea(run.advanced(by: Int(head) &<< RequestArea.shift))
  }
}
