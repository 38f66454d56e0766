/// Byte offsets of the block device's configuration, little-endian (virtio 1.2, 5.2.4).
public enum BlockConfigLayout {
  /// Capacity in 512-byte sectors, 64 bits.
  public static let capacity = 0
  /// Most bytes of one segment, 32 bits (SIZE_MAX).
  public static let sizeMax = 8
  /// Most data segments of one request, 32 bits (SEG_MAX).
  public static let segMax = 12
  /// Cylinders, 16 bits (GEOMETRY).
  public static let cylinders = 16
  /// Heads, 8 bits (GEOMETRY).
  public static let heads = 18
  /// Sectors a track, 8 bits (GEOMETRY).
  public static let sectors = 19
  /// Logical block in bytes, 32 bits (BLK_SIZE).
  public static let blockSize = 20
  /// Logical blocks a physical block, as a power of two, 8 bits (TOPOLOGY).
  public static let physicalBlockExponent = 24
  /// Offset of the first aligned logical block, 8 bits (TOPOLOGY).
  public static let alignmentOffset = 25
  /// Suggested smallest I/O in logical blocks, 16 bits (TOPOLOGY).
  public static let minimumIOSize = 26
  /// Suggested largest I/O in logical blocks, 32 bits (TOPOLOGY).
  public static let optimalIOSize = 28
  /// 1 = write-back, 0 = write-through, 8 bits; the one field a driver may write (CONFIG_WCE).
  public static let writeback = 32
  /// Number of request queues, 16 bits (MQ).
  public static let queueCount = 34
  /// Most sectors of one discard segment, 32 bits (DISCARD).
  public static let maxDiscardSectors = 36
  /// Most segments of one discard, 32 bits (DISCARD).
  public static let maxDiscardSegments = 40
  /// Alignment of a discard in sectors, 32 bits (DISCARD).
  public static let discardSectorAlignment = 44
  /// Most sectors of one write-zeroes segment, 32 bits (WRITE_ZEROES).
  public static let maxWriteZeroesSectors = 48
  /// Most segments of one write-zeroes, 32 bits (WRITE_ZEROES).
  public static let maxWriteZeroesSegments = 52
  /// Whether a write-zeroes may unmap, 8 bits (WRITE_ZEROES).
  public static let writeZeroesMayUnmap = 56
  /// Most sectors of one secure-erase segment, 32 bits (SECURE_ERASE).
  public static let maxSecureEraseSectors = 60
  /// Most segments of one secure erase, 32 bits (SECURE_ERASE).
  public static let maxSecureEraseSegments = 64
  /// Alignment of a secure erase in sectors, 32 bits (SECURE_ERASE).
  public static let secureEraseSectorAlignment = 68
  /// Sectors of a zone, 32 bits (ZONED).
  public static let zoneSectors = 72
  /// Most open zones, 32 bits (ZONED).
  public static let maxOpenZones = 76
  /// Most active zones, 32 bits (ZONED).
  public static let maxActiveZones = 80
  /// Most sectors of a zone append, 32 bits (ZONED).
  public static let maxAppendSectors = 84
  /// Granularity of writes in bytes, 32 bits (ZONED).
  public static let writeGranularity = 88
  /// 0 none, 1 host-managed, 2 host-aware, 8 bits (ZONED).
  public static let zonedModel = 92
  /// Bytes of the whole structure.
  public static let byteCount = 96

  /// How many bytes of the configuration the given features need: up to the end of the last field.
  /// Padding is not needed: QEMU's device with WRITE_ZEROES has 57 bytes.
  public static func byteCount(for features: Features) -> Int {
    if features.contains(.zoned) { return 93 }
    if features.contains(.secureErase) { return 72 }
    if features.contains(.writeZeroes) { return 57 }
    if features.contains(.discard) { return 48 }
    if features.contains(.multiQueue) { return 36 }
    if features.contains(.configWriteCache) { return 33 }
    if features.contains(.topology) { return 32 }
    if features.contains(.blockSize) { return 24 }
    if features.contains(.geometry) { return 20 }
    if features.contains(.segMax) { return 16 }
    if features.contains(.sizeMax) { return 12 }
    return 8
  }
}

/// The block protocol's unit of offset and capacity, whatever the logical block size.
public enum Sector {
  /// Bytes of a sector.
  @inlinable public static var byteCount: UInt64 { 512 }
  /// log2 of the bytes of a sector.
  @inlinable public static var shift: UInt64 { 9 }
}
