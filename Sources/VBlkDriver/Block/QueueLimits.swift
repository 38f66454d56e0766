import Virtio

/// What one request may be, as the block layer names it; all in bytes unless said otherwise.
public struct QueueLimits: Equatable, Sendable {
  /// Logical block: offsets and lengths on the wire are multiples of it.
  public let logicalBlockSize: Int
  /// Physical block: what the device writes without reading first.
  public let physicalBlockSize: Int
  /// Most data segments of one bio.
  public let maxSegments: Int
  /// Most bytes of one segment.
  public let maxSegmentSize: Int
  /// Most bytes of one bio.
  public let maxBioBytes: Int
  /// Suggested smallest I/O; 0 if not said.
  public let ioMinimum: Int
  /// Suggested largest I/O; 0 if not said.
  public let ioOptimal: Int
  /// Most bytes of one discard request, 0 where there is no discard.
  public let maxDiscardBytes: Int
  /// Alignment of discards.
  public let discardAlignment: Int
  /// Most bytes of one write-zeroes request, 0 where there is none.
  public let maxWriteZeroesBytes: Int

  /// Reads the limits from configuration fields, as far as the accepted features make them valid;
  /// what a device says badly is refused or ignored (facts: hostile-device rows 22-25).
  init(config: BlockConfigSnapshot, features: Features) throws(VBlkError) {
    logicalBlockSize = try Self.logicalBlock(config, features)
    var physical = logicalBlockSize
    if features.contains(.topology), config.physicalBlockExponent < 16 {
      physical = logicalBlockSize << Int(config.physicalBlockExponent)
    }
    physicalBlockSize = physical
    ioMinimum = features.contains(.topology) ? Int(config.minimumIOSize) * logicalBlockSize : 0
    ioOptimal = features.contains(.topology) ? Int(config.optimalIOSize) * logicalBlockSize : 0

    // seg_max 0 means what Linux makes of it, one segment; absent means no more than one either.
    maxSegments =
      features.contains(.segMax) ? min(max(1, Int(config.segMax)), Limits.segmentsPerBio) : 1
    // size_max 0 is offered by real devices that mean no limit; less than a block can't be meant.
    let sizeMax = features.contains(.sizeMax) ? Int(config.sizeMax) : 0
    guard sizeMax == 0 || sizeMax >= logicalBlockSize else {
      throw VBlkError(
        .deviceUnavailable,
        "size_max is \(sizeMax), less than a block of \(logicalBlockSize) bytes",
        remedy: "offer a size_max of at least a block, or none")
    }
    maxSegmentSize = sizeMax == 0 ? Limits.bytesPerBio : min(sizeMax, Limits.bytesPerBio)
    maxBioBytes = Limits.bytesPerBio

    let discard = features.contains(.discard) && config.maxDiscardSegments != 0
    maxDiscardBytes = discard ? Self.bytes(config.maxDiscardSectors, logicalBlockSize) : 0
    discardAlignment = max(logicalBlockSize, Int(clamping: UInt64(config.discardAlignment) << 9))
    maxWriteZeroesBytes =
      features.contains(.writeZeroes) && config.maxWriteZeroesSegments != 0
      ? Self.bytes(config.maxWriteZeroesSectors, logicalBlockSize) : 0
  }

  private static func logicalBlock(
    _ config: BlockConfigSnapshot, _ features: Features
  ) throws(VBlkError) -> Int {
    guard features.contains(.blockSize) else { return Int(Sector.byteCount) }
    let size = config.blockSize
    guard size >= 512, size <= 1 << 20, size & (size - 1) == 0 else {
      throw VBlkError(
        .deviceUnavailable, "blk_size is \(size), not a power of two from 512 to 1 MiB",
        remedy: "the device is faulty, or must not offer BLK_SIZE")
    }
    return Int(size)
  }

  /// A limit in sectors as bytes, whole blocks; 0 sectors means unlimited (as Linux reads it). 0
  /// bytes, no such request, where the limit is less than a block.
  private static func bytes(_ sectors: UInt32, _ block: Int) -> Int {
    let most = Int(UInt32.max) << 9
    let bytes = sectors == 0 ? most : Int(sectors) << 9
    return bytes & ~(block - 1)
  }
}

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
  }
}
