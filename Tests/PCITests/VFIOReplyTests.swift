import Testing

@testable import PCI

/// Answers of the kernel, laid out by hand: linux/vfio.h.
@Suite("VFIO replies")
struct VFIOReplyTests {
  private static func reply(_ byteCount: Int, _ fields: [(Int, UInt64, Int)]) -> VFIOReply {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    for (offset, value, width) in fields {
      for index in 0..<width {
        bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
      }
    }
    return VFIOReply(bytes: bytes)
  }

  /// The IOMMU info that Linux 6.1 gives behind an emulated Intel IOMMU of 39 bits.
  private static let intel = reply(
    96,
    [
      (4, 3, 4), (8, 0x4020_1000, 8), (16, 24, 4),
      (24, 1, 2), (26, 1, 2), (28, 72, 4), (32, 2, 4),
      (40, 0, 8), (48, 0xFEDF_FFFF, 8), (56, 0xFEF0_0000, 8), (64, 0x7F_FFFF_FFFF, 8),
      (72, 3, 2), (74, 1, 2), (76, 0, 4), (80, 65_535, 4),
    ])

  @Test("ranges with the hole of message interrupts, page size, limit of mappings")
  func iommu() {
    let info = VFIOIOMMUInfo(Self.intel)
    #expect(info.ranges == [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF])
    #expect(info.pageByteCount == 4096)
    #expect(info.mappingsMax == 65_535)
  }

  @Test("a kernel that says nothing: 39 bits without the hole, 4 KiB, no limit known")
  func silentKernel() {
    let info = VFIOIOMMUInfo(Self.reply(24, [(4, 0, 4)]))
    #expect(info.ranges == [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF])
    #expect(info.pageByteCount == 4096)
    #expect(info.mappingsMax == nil)
  }

  @Test("every cut of the answer is read within its bounds")
  func cuts() {
    for count in 0...Self.intel.bytes.count {
      let info = VFIOIOMMUInfo(VFIOReply(bytes: Array(Self.intel.bytes.prefix(count))))
      #expect(!info.ranges.isEmpty, "\(count) bytes")
      #expect(info.pageByteCount >= 4096, "\(count) bytes")
    }
  }

  @Test("a chain that loops, or leaves the answer, ends")
  func chains() {
    let loop = Self.reply(48, [(24, 9, 2), (28, 32, 4), (32, 8, 2), (36, 24, 4)])
    #expect(loop.capability(1, chainAt: 24) == nil)
    #expect(loop.capability(8, chainAt: 24) == 32)
    let outside = Self.reply(48, [(24, 9, 2), (28, 4000, 4)])
    #expect(outside.capability(1, chainAt: 24) == nil)
    #expect(outside.capability(1, chainAt: 46) == nil)
  }

  @Test("a region mapped around its MSI-X table")
  func sparse() {
    let info = VFIORegionInfo(
      Self.reply(
        80,
        [
          (4, 0xF, 4), (8, 4, 4), (12, 32, 4), (16, 0x4000, 8), (24, 4 << 40, 8),
          (32, 1, 2), (40, 2, 4), (48, 0, 8), (56, 0x1000, 8), (64, 0x2000, 8), (72, 0x2000, 8),
        ]))
    #expect(info.byteCount == 0x4000)
    #expect(info.fileOffset == 4 << 40)
    #expect(info.mappable == [0..<0x1000, 0x2000..<0x4000])
  }

  @Test("areas outside the region, empty or not whole pages are not mapped")
  func badAreas() {
    for (offset, size) in [
      (0x4000, 0x1000), (0x3000, 0x2000), (0, 0), (0x800, 0x1000), (0, 0x800),
    ] as [(UInt64, UInt64)] {
      let info = VFIORegionInfo(
        Self.reply(
          64,
          [
            (4, 0xF, 4), (12, 32, 4), (16, 0x4000, 8), (32, 1, 2), (40, 1, 4), (48, offset, 8),
            (56, size, 8),
          ]))
      #expect(info.mappable == [], "\(size) bytes at \(offset)")
    }
  }

  @Test("without a list all of it is mapped, in whole pages; without leave nothing")
  func whole() {
    func mappable(_ flags: UInt64, _ size: UInt64) -> [Range<UInt64>] {
      VFIORegionInfo(Self.reply(32, [(4, flags, 4), (16, size, 8)])).mappable
    }
    #expect(mappable(7, 0x4000) == [0..<0x4000])
    #expect(mappable(7, 0x1800) == [0..<0x1000])
    #expect(mappable(7, 0x800) == [])
    #expect(mappable(3, 0x4000) == [])
  }

  @Test("the kernel that has more to say is asked again, with room")
  func askedTwice() throws {
    var asked: [UInt32] = []
    let reply = unsafe VFIOReply.ask(byteCount: 24) { bytes in
      let room = unsafe bytes.load(as: UInt32.self)
      asked.append(room)
      unsafe bytes.storeBytes(of: 64, as: UInt32.self)
      return 0
    }
    #expect(asked == [24, 64])
    #expect(try #require(reply).bytes.count == 64)
    #expect(unsafe VFIOReply.ask(byteCount: 24) { _ in -1 } == nil)
  }
}
