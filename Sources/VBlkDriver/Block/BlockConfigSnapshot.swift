import Virtio

/// The configuration fields that the driver reads, copied once.
struct BlockConfigSnapshot: Equatable, Sendable {
  var capacity: UInt64 = 0
  var sizeMax: UInt32 = 0
  var segMax: UInt32 = 0
  var blockSize: UInt32 = 512
  var physicalBlockExponent: UInt8 = 0
  var minimumIOSize: UInt16 = 0
  var optimalIOSize: UInt32 = 0
  var writeback: UInt8 = 1
  var queueCount: UInt16 = 1
  var maxDiscardSectors: UInt32 = 0
  var maxDiscardSegments: UInt32 = 0
  var discardAlignment: UInt32 = 0
  var maxWriteZeroesSectors: UInt32 = 0
  var maxWriteZeroesSegments: UInt32 = 0
  var writeZeroesMayUnmap: UInt8 = 0
  var maxSecureEraseSectors: UInt32 = 0
  var maxSecureEraseSegments: UInt32 = 0
  var secureEraseAlignment: UInt32 = 0
  var zoneSectors: UInt32 = 0
  var maxOpenZones: UInt32 = 0
  var maxActiveZones: UInt32 = 0
  var maxAppendSectors: UInt32 = 0
  var writeGranularity: UInt32 = 0
  var zonedModel: UInt8 = 0
  /// The configuration's generation that all of them are of.
  var generation: UInt8 = 0

  /// Reads each field that a feature gates (virtio 1.2, 5.2.4), all of one generation.
  init(_ transport: VirtioPCITransport, features: Features) throws(VBlkError) {
    let needed = BlockConfigLayout.byteCount(for: features)
    guard transport.configByteCount >= needed else {
      throw VBlkError(
        .deviceUnavailable,
        "\(transport.function.name) has \(transport.configByteCount) bytes of configuration; its "
          + "features need \(needed)",
        remedy: "the device is faulty")
    }
    let read = try transport.stableConfig { Self(reading: transport, features) }
    self = read.value
    generation = read.generation
  }

  private init(reading transport: VirtioPCITransport, _ features: Features) {
    func field<T: FixedWidthInteger>(_ offset: Int, _: T.Type = T.self) -> T {
      T(truncatingIfNeeded: transport.configField(offset, width: T.bitWidth / 8))
    }
    capacity = field(BlockConfigLayout.capacity)
    if features.contains(.sizeMax) { sizeMax = field(BlockConfigLayout.sizeMax) }
    if features.contains(.segMax) { segMax = field(BlockConfigLayout.segMax) }
    if features.contains(.blockSize) { blockSize = field(BlockConfigLayout.blockSize) }
    if features.contains(.topology) {
      physicalBlockExponent = field(BlockConfigLayout.physicalBlockExponent)
      minimumIOSize = field(BlockConfigLayout.minimumIOSize)
      optimalIOSize = field(BlockConfigLayout.optimalIOSize)
    }
    if features.contains(.configWriteCache) { writeback = field(BlockConfigLayout.writeback) }
    if features.contains(.multiQueue) { queueCount = field(BlockConfigLayout.queueCount) }
    if features.contains(.discard) {
      maxDiscardSectors = field(BlockConfigLayout.maxDiscardSectors)
      maxDiscardSegments = field(BlockConfigLayout.maxDiscardSegments)
      discardAlignment = field(BlockConfigLayout.discardSectorAlignment)
    }
    if features.contains(.writeZeroes) {
      maxWriteZeroesSectors = field(BlockConfigLayout.maxWriteZeroesSectors)
      maxWriteZeroesSegments = field(BlockConfigLayout.maxWriteZeroesSegments)
      writeZeroesMayUnmap = field(BlockConfigLayout.writeZeroesMayUnmap)
    }
    if features.contains(.secureErase) {
      maxSecureEraseSectors = field(BlockConfigLayout.maxSecureEraseSectors)
      maxSecureEraseSegments = field(BlockConfigLayout.maxSecureEraseSegments)
      secureEraseAlignment = field(BlockConfigLayout.secureEraseSectorAlignment)
    }
    if features.contains(.zoned) {
      zoneSectors = field(BlockConfigLayout.zoneSectors)
      maxOpenZones = field(BlockConfigLayout.maxOpenZones)
      maxActiveZones = field(BlockConfigLayout.maxActiveZones)
      maxAppendSectors = field(BlockConfigLayout.maxAppendSectors)
      writeGranularity = field(BlockConfigLayout.writeGranularity)
      zonedModel = field(BlockConfigLayout.zonedModel)
    }
  }
}
