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
  /// What one discard may be.
  public let discard: RangeLimits
  /// What one write-zeroes may be.
  public let writeZeroes: RangeLimits
  /// What one secure erase may be; whole multiples of its alignment are erased.
  public let secureErase: RangeLimits
  /// The zones, where the device has any.
  public let zoned: ZonedLimits?
  /// Whether writes must be where a zone's write pointer is.
  let isHostManaged: Bool
  /// Most bytes of a bio of one segment: whole blocks.
  let maxPlainBytes: UInt64

  /// Most bytes of one range of a discard, 0 where there is no discard.
  public var maxDiscardBytes: Int { discard.maxBytes }
  /// Alignment of discards.
  public var discardAlignment: Int { discard.alignment }
  /// Most bytes of one range of a write-zeroes, 0 where there is none.
  public var maxWriteZeroesBytes: Int { writeZeroes.maxBytes }

  /// The limits of an operation that is a list of ranges.
  func range(_ operation: Operation) -> RangeLimits {
    switch operation {
    case .discard: discard
    case .writeZeroes: writeZeroes
    case .secureErase: secureErase
    default: preconditionFailure("\(operation) has no ranges")
    }
  }

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
    maxPlainBytes = UInt64(min(maxSegmentSize, maxBioBytes) & ~(logicalBlockSize - 1))

    let block = logicalBlockSize
    discard = RangeLimits(
      isOffered: features.contains(.discard), sectors: config.maxDiscardSectors,
      segments: config.maxDiscardSegments, alignment: config.discardAlignment, block: block)
    writeZeroes = RangeLimits(
      isOffered: features.contains(.writeZeroes), sectors: config.maxWriteZeroesSectors,
      segments: config.maxWriteZeroesSegments, alignment: 0, block: block)
    // An erase without an alignment would be one of no known extent; Linux refuses it too.
    secureErase = RangeLimits(
      isOffered: features.contains(.secureErase) && config.secureEraseAlignment != 0,
      sectors: config.maxSecureEraseSectors, segments: config.maxSecureEraseSegments,
      alignment: config.secureEraseAlignment, block: block)
    zoned = try features.contains(.zoned) ? ZonedLimits(config, block: block) : nil
    isHostManaged = zoned?.model == .hostManaged
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
}

/// What one request of ranges may be: a discard, write-zeroes or secure erase; in bytes.
public struct RangeLimits: Equatable, Sendable {
  /// Most bytes of one range; 0 where there is no such request.
  public let maxBytes: Int
  /// Most ranges of one request.
  public let maxSegments: Int
  /// Where an operation that is cut into ranges is best cut.
  public let alignment: Int

  /// Reads the limits of a request; 0 sectors means unlimited (as Linux reads it), no segments or
  /// less than a block that there is no such request.
  init(isOffered: Bool, sectors: UInt32, segments: UInt32, alignment: UInt32, block: Int) {
    let most = sectors == 0 ? Int(UInt32.max) << 9 : Int(sectors) << 9
    maxBytes = isOffered && segments > 0 ? most & ~(block - 1) : 0
    maxSegments = maxBytes == 0 ? 0 : Int(segments)
    let wanted = Int(alignment) << 9
    self.alignment = wanted == 0 || wanted % block != 0 ? block : wanted
  }
}
