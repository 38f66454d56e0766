public import Virtio

/// Descriptors, of the ring or of an indirect table: we write, the device reads; never read back.
///
/// Invariant: `run` holds `count` descriptors, and an index is below `count`; only debug builds
/// check it.
@safe
@frozen
@usableFromInline
struct DescriptorTable {
  @usableFromInline let run: SharedRun
  @usableFromInline let count: Int

  init(_ run: SharedRun, count: Int) {
    self.run = run
    self.count = count
  }

  var deviceAddress: UInt64 { run.deviceAddress }

  func store(_ descriptor: Descriptor, at index: Int) {
    assert(index >= 0 && index < count, "descriptor \(index) of a table of \(count)")
    unsafe (run.base + SplitLayout.descriptorStride &* index)
      .storeBytes(of: descriptor, as: Descriptor.self)
  }

  /// An entry of a packed ring's indirect table: no NEXT, for all of the table is the chain, and
  /// nothing but WRITE means anything (virtio 1.2, 2.8.8).
  func store(packed descriptor: Descriptor, at index: Int) {
    assert(index >= 0 && index < count, "descriptor \(index) of a table of \(count)")
    let entry = PackedDescriptor(
      address: descriptor.address, length: descriptor.length, id: 0,
      flags: descriptor.flags.intersection(.write))
    unsafe (run.base + PackedLayout.descriptorStride &* index)
      .storeBytes(of: entry, as: PackedDescriptor.self)
  }

  /// Data segments, `count` of them from the second descriptor on, two words each. `above` is what
  /// stands above the length in the first one's second word; it grows by `step` from one to the
  /// next.
  func store(_ segments: Table<DeviceSegment>, count: Int, _ above: UInt64, step: UInt64) {
    assert(count < self.count, "\(count) segments in a table of \(self.count)")
    var above = above
    var index = 0
    while index < count {
      let segment = segments[index]
      index &+= 1
      let place = unsafe run.base + SplitLayout.descriptorStride &* index
      unsafe place.storeBytes(of: segment.address, as: UInt64.self)
      unsafe place.storeBytes(
        of: UInt64(segment.byteCount) | above, toByteOffset: 8, as: UInt64.self)
      above &+= step
    }
  }

  /// The `count` descriptors from `index` on.
  func part(at index: Int, count: Int) -> DescriptorTable {
    assert(index >= 0 && index + count <= self.count, "descriptors beyond a table's end")
    return DescriptorTable(
      run.advanced(by: SplitLayout.descriptorStride * index), count: count)
  }

  /// One descriptor that stands for data in chain after chain.
  func data(at index: Int) -> DataDescriptor {
    assert(index >= 0 && index < count, "descriptor \(index) of a table of \(count)")
    return DataDescriptor(run.advanced(by: SplitLayout.descriptorStride * index))
  }
}

/// The data descriptor of a slot's plain chain. A request changes all of it but `next`.
///
/// Invariant: `place` is 16 bytes of a ``DescriptorTable``, and lives as long.
@safe
@frozen
@usableFromInline
struct DataDescriptor {
  @usableFromInline let place: UnsafeMutableRawPointer

  init(_ run: SharedRun) { unsafe place = run.base }

  @inlinable @inline(__always)
  func write(address: UInt64, count: UInt32, deviceWrites: Bool) {
    let flags: DescriptorFlags = deviceWrites ? [.next, .write] : .next
    unsafe place.storeBytes(of: address, as: UInt64.self)
    unsafe place.storeBytes(of: count, toByteOffset: 8, as: UInt32.self)
    unsafe place.storeBytes(of: flags.rawValue, toByteOffset: 12, as: UInt16.self)
  }

  /// The same in a packed ring's table.
  @inlinable @inline(__always)
  func writePacked(address: UInt64, count: UInt64, deviceWrites: Bool) {
    let word = count | (deviceWrites ? PackedRing.write : 0)
    unsafe place.storeBytes(of: address, as: UInt64.self)
    unsafe place.storeBytes(of: word, toByteOffset: 8, as: UInt64.self)
  }
}
