internal import Virtio

/// The device configuration as bytes, little-endian (virtio 1.2, 5.2.4).
struct BlockConfiguration {
  private(set) var bytes: [UInt8]
  /// Bytes shown in place of the true ones, by offset.
  var overrides: [Int: UInt8]

  init(
    _ configuration: EmulatedDisk.Configuration, capacitySectors: UInt64, zones: ZoneGeometry?
  ) {
    let offered = configuration.offered
    bytes = Array(
      repeating: 0,
      count: configuration.configByteCount ?? BlockConfigLayout.byteCount(for: offered))
    overrides = configuration.configOverrides
    typealias Layout = BlockConfigLayout
    set(Layout.capacity, capacitySectors)
    if offered.contains(.sizeMax) { set(Layout.sizeMax, configuration.sizeMax ?? 0) }
    if offered.contains(.segMax) { set(Layout.segMax, configuration.segMax ?? 0) }
    if offered.contains(.blockSize) { set(Layout.blockSize, configuration.blockSize) }
    if offered.contains(.configWriteCache) {
      set(Layout.writeback, UInt8(configuration.writeback ? 1 : 0))
    }
    if offered.contains(.multiQueue) { set(Layout.queueCount, UInt16(configuration.queues)) }
    if offered.contains(.discard) {
      set(Layout.maxDiscardSectors, configuration.maxDiscardSectors)
      set(Layout.maxDiscardSegments, configuration.maxDiscardSegments)
      set(Layout.discardSectorAlignment, configuration.discardSectorAlignment)
    }
    if offered.contains(.writeZeroes) {
      set(Layout.maxWriteZeroesSectors, configuration.maxWriteZeroesSectors)
      set(Layout.maxWriteZeroesSegments, configuration.maxWriteZeroesSegments)
      set(Layout.writeZeroesMayUnmap, UInt8(1))
    }
    if offered.contains(.secureErase) {
      set(Layout.maxSecureEraseSectors, configuration.maxSecureEraseSectors)
      set(Layout.maxSecureEraseSegments, configuration.maxSecureEraseSegments)
      // Whole zones are erased (virtio 1.3, 5.2.6.2).
      let alignment = zones.map { UInt32($0.zoneSectors) }
      set(
        Layout.secureEraseSectorAlignment, alignment ?? configuration.secureEraseSectorAlignment)
    }
    if offered.contains(.zoned) { setZones(zones) }
    lie(configuration.hostility)
    if configuration.defects.contains(.unusedSet) { set(33, UInt8(1)) }
  }

  /// Shows the zones, or that there are none (virtio 1.3, 5.2.5.2).
  mutating func setZones(_ zones: ZoneGeometry?) {
    typealias Layout = BlockConfigLayout
    set(Layout.zoneSectors, UInt32(zones?.zoneSectors ?? 0))
    set(Layout.maxOpenZones, UInt32(zones?.maxOpen ?? 0))
    set(Layout.maxActiveZones, UInt32(zones?.maxActive ?? 0))
    set(Layout.maxAppendSectors, UInt32(zones?.maxAppendSectors ?? 0))
    set(Layout.writeGranularity, UInt32((zones?.granularitySectors ?? 0) << Sector.shift))
    set(Layout.zonedModel, zones?.model.rawValue ?? ZonedModel.none.rawValue)
  }

  /// Puts a field where it belongs, as far as the configuration reaches.
  mutating func set(_ offset: Int, _ value: some FixedWidthInteger & UnsignedInteger) {
    for index in 0..<(value.bitWidth / 8) where offset + index < bytes.count {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
    }
  }

  /// What the driver reads; 0 beyond the end.
  func read(_ offset: Int, width: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<width where offset + index < bytes.count {
      let byte = overrides[offset + index] ?? bytes[offset + index]
      value |= UInt32(byte) << UInt32(8 * index)
    }
    return value
  }

  /// Queues that a driver with these features may use, by what it reads.
  func queueCount(_ features: Features) -> Int {
    features.contains(.multiQueue)
      ? Int(read(BlockConfigLayout.queueCount, width: 2)) : 1
  }

  /// The capacity that the driver reads.
  var capacitySectors: UInt64 {
    let low = BlockConfigLayout.capacity
    return UInt64(read(low, width: 4)) | UInt64(read(low + 4, width: 4)) << 32
  }

  /// The write cache's mode (virtio 1.2, 5.2.5.2).
  var writeback: Bool {
    get { bytes.count > BlockConfigLayout.writeback && bytes[BlockConfigLayout.writeback] != 0 }
    set { set(BlockConfigLayout.writeback, UInt8(newValue ? 1 : 0)) }
  }

  /// Fields that a hostile device lies about; rows of the hostile-device table.
  private mutating func lie(_ hostility: Hostility) {
    typealias Layout = BlockConfigLayout
    if hostility.contains(.queueCountZero) { set(Layout.queueCount, UInt16(0)) }
    if hostility.contains(.queueCountHuge) { set(Layout.queueCount, UInt16.max) }
    if hostility.contains(.capacityZero) { set(Layout.capacity, UInt64(0)) }
    if hostility.contains(.capacityHuge) { set(Layout.capacity, UInt64.max) }
    if hostility.contains(.blockSizeZero) { set(Layout.blockSize, UInt32(0)) }
    if hostility.contains(.blockSizeOdd) { set(Layout.blockSize, UInt32(513)) }
    if hostility.contains(.blockSizeHuge) { set(Layout.blockSize, UInt32(1) << 31) }
    if hostility.contains(.topologyAbsurd) {
      set(Layout.physicalBlockExponent, UInt8.max)
      set(Layout.minimumIOSize, UInt16.max)
      set(Layout.optimalIOSize, UInt32.max)
    }
    if hostility.contains(.segMaxZero) { set(Layout.segMax, UInt32(0)) }
    if hostility.contains(.sizeMaxTiny) { set(Layout.sizeMax, UInt32(1)) }
    if hostility.contains(.discardLimitsZero) {
      for offset in [
        Layout.maxDiscardSectors, Layout.maxDiscardSegments, Layout.discardSectorAlignment,
        Layout.maxWriteZeroesSectors, Layout.maxWriteZeroesSegments,
      ] { set(offset, UInt32(0)) }
    }
  }
}
