/// What the kernel answers to VFIO's info calls: a structure, and a chain of capabilities behind.
///
/// Every offset in it is checked against what came; a chain that leaves it, or does not end, has no
/// capabilities beyond that point.
struct VFIOReply: Equatable {
  let bytes: [UInt8]

  /// Asks twice where the kernel has more to say than there is room for.
  ///
  /// - Parameters:
  ///   - byteCount: Bytes of the structure without capabilities.
  ///   - prepare: Fills in what is asked for, in bytes that begin with argsz.
  ///   - call: The call, with the bytes; -1 on failure.
  /// - Returns: The answer, or nil where the call failed.
  static func ask(
    byteCount: Int, prepare: (inout [UInt8]) -> Void = { _ in },
    call: (UnsafeMutableRawPointer) -> CInt
  ) -> VFIOReply? {
    var byteCount = byteCount
    for _ in 0..<2 {
      var bytes = [UInt8](repeating: 0, count: byteCount)
      prepare(&bytes)
      bytes.store(UInt32(byteCount), at: 0)
      let status = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe buffer.baseAddress.map { unsafe call($0) } ?? -1
      }
      guard status == 0 else { return nil }
      let reply = VFIOReply(bytes: bytes)
      let wanted = Int(reply.load(UInt32.self, at: 0) ?? 0)
      guard wanted > byteCount, wanted <= Self.byteCountMax else { return reply }
      byteCount = wanted
    }
    return nil
  }

  /// More than any kernel says; less than would hurt.
  private static let byteCountMax = 1 << 20

  /// A little-endian number, nil where the answer ends before it does.
  func load<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number? {
    let count = Number.bitWidth / 8
    guard offset >= 0, offset <= bytes.count - count else { return nil }
    return (0..<count).reversed().reduce(0) { $0 << 8 | Number(bytes[offset + $1]) }
  }

  /// Where the capability `id` begins, its 8-byte header included.
  func capability(_ id: UInt16, chainAt first: Int) -> Int? {
    var offset = first
    // No chain has more entries than headers fit in.
    for _ in 0..<bytes.count / 8 where offset != 0 {
      guard let found = load(UInt16.self, at: offset), let next = load(UInt32.self, at: offset + 4)
      else { return nil }
      if found == id { return offset }
      offset = Int(next)
    }
    return nil
  }
}

extension [UInt8] {
  /// Writes a number, little-endian; the bytes must be there.
  mutating func store<Number: FixedWidthInteger>(_ value: Number, at offset: Int) {
    for index in 0..<Number.bitWidth / 8 {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> Number(8 * index))
    }
  }
}

/// What a type 1 IOMMU can map.
struct VFIOIOMMUInfo: Equatable {
  /// The device addresses that may be used.
  let ranges: [ClosedRange<UInt64>]
  /// Bytes of the smallest page.
  let pageByteCount: UInt64
  /// Mappings that a container may have; nil where the kernel does not say.
  let mappingsMax: Int?

  static let byteCount = 24
  private static let hasCapabilities: UInt32 = 1 << 1
  private static let rangeCapability: UInt16 = 1
  private static let availableCapability: UInt16 = 3

  /// Reads `struct vfio_iommu_type1_info` and its capabilities.
  init(_ reply: VFIOReply) {
    let sizes = reply.load(UInt64.self, at: 8) ?? 0
    // Bit n set: pages of 1 << n bytes. None said, or below a processor's page: 4 KiB.
    pageByteCount = max(4096, sizes == 0 ? 4096 : 1 << UInt64(sizes.trailingZeroBitCount))
    let flags = reply.load(UInt32.self, at: 4) ?? 0
    let chain =
      flags & Self.hasCapabilities == 0 ? 0 : Int(reply.load(UInt32.self, at: 16) ?? 0)
    let said = Self.ranges(reply, chain)
    // A kernel before 5.4 says no ranges: 39 bits, less the window of message interrupts, is what
    // every one of its IOMMUs takes.
    ranges = said.isEmpty ? [0...0xFEDF_FFFF, 0xFEF0_0000...(1 << 39 - 1)] : said
    mappingsMax = reply.capability(Self.availableCapability, chainAt: chain).flatMap {
      reply.load(UInt32.self, at: $0 + 8).map { Int($0) }
    }
  }

  private static func ranges(_ reply: VFIOReply, _ chain: Int) -> [ClosedRange<UInt64>] {
    guard let start = reply.capability(rangeCapability, chainAt: chain),
      let count = reply.load(UInt32.self, at: start + 8), count <= 4096
    else { return [] }
    return (0..<Int(count)).compactMap { index in
      guard let low = reply.load(UInt64.self, at: start + 16 + 16 * index),
        let high = reply.load(UInt64.self, at: start + 24 + 16 * index), low <= high
      else { return nil }
      return low...high
    }
  }
}

/// Where a region is in the device's file, and which parts of it can be mapped.
struct VFIORegionInfo: Equatable {
  let byteCount: UInt64
  let fileOffset: UInt64
  /// The parts that can be mapped, in whole pages, inside the region.
  let mappable: [Range<UInt64>]

  static let byteCountOfReply = 32
  private static let canBeMapped: UInt32 = 1 << 2
  private static let hasCapabilities: UInt32 = 1 << 3
  private static let sparseCapability: UInt16 = 1

  /// Reads `struct vfio_region_info` and its capabilities.
  init(_ reply: VFIOReply) {
    let flags = reply.load(UInt32.self, at: 4) ?? 0
    let byteCount = reply.load(UInt64.self, at: 16) ?? 0
    self.byteCount = byteCount
    fileOffset = reply.load(UInt64.self, at: 24) ?? 0
    guard flags & Self.canBeMapped != 0, byteCount > 0 else {
      mappable = []
      return
    }
    let chain =
      flags & Self.hasCapabilities == 0 ? 0 : Int(reply.load(UInt32.self, at: 12) ?? 0)
    guard let start = reply.capability(Self.sparseCapability, chainAt: chain) else {
      // All of it, as far as whole pages go.
      mappable = byteCount >= 4096 ? [0..<byteCount & ~4095] : []
      return
    }
    let count = min(reply.load(UInt32.self, at: start + 8) ?? 0, 4096)
    mappable = (0..<Int(count)).compactMap { index in
      guard let offset = reply.load(UInt64.self, at: start + 16 + 16 * index),
        let size = reply.load(UInt64.self, at: start + 24 + 16 * index),
        size > 0, (offset | size) & 4095 == 0, offset <= byteCount, byteCount - offset >= size
      else { return nil }
      return offset..<offset + size
    }
  }
}
