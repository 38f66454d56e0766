import Testing

@testable import DMAPool

@Suite struct ProcessMapTests {
  static let text = """
    1000-3000 rw-p 00000000 00:00 0                                  [heap]
    Size:                  8 kB
    KernelPageSize:        4 kB
    VmFlags: rd wr mr mw me
    3000-4000 rw-s 00000000 00:01 1024                               /memfd:a (deleted)
    KernelPageSize:        4 kB
    4000-5000 r--p 00000000 00:00 0
    KernelPageSize:        4 kB
    200000-600000 rw-s 00000000 00:0f 77                             /memfd:vblk-dma (deleted)
    KernelPageSize:     2048 kB
    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]
    KernelPageSize:        4 kB
    """

  let map = ProcessMap(Array(text.utf8))

  @Test("entries have their addresses, rights and page sizes")
  func entries() {
    #expect(map.entries.count == 5)
    #expect(map.entries.map(\.isReadWrite) == [true, true, false, true, false])
    #expect(map.entries.map(\.pageByteCount) == [4096, 4096, 4096, 2 << 20, 4096])
    #expect(map.entries[4].addresses.upperBound == 0xffff_ffff_ff60_1000)
  }

  @Test("readable and writable parts are joined where they touch")
  func parts() {
    #expect(map.readWriteParts(of: 0x2000..<0x8000) == [0x2000..<0x4000])
    #expect(map.readWriteParts(of: 0..<0x300000) == [0x1000..<0x4000, 0x200000..<0x300000])
    #expect(map.readWriteParts(of: 0x4000..<0x5000).isEmpty)
  }

  @Test("the first gap is the first address that no part holds")
  func gap() {
    let parts: [Range<UInt>] = [0x1000..<0x4000, 0x200000..<0x300000]
    #expect(parts.firstGap(in: 0x1000..<0x4000) == nil)
    #expect(parts.firstGap(in: 0x2000..<0x5000) == 0x4000)
    #expect(parts.firstGap(in: 0x0..<0x1000) == 0)
    #expect(parts.holes(in: 0x3000..<0x5000) == [false, true])
  }

  @Test("only memory that is all in huge pages is huge")
  func huge() {
    #expect(map.isHuge(0x200000..<0x600000, byteCount: 2 << 20))
    #expect(map.isHuge(0x201000..<0x202000, byteCount: 2 << 20))
    #expect(!map.isHuge(0x200000..<0x601000, byteCount: 2 << 20))
    #expect(!map.isHuge(0x1000..<0x2000, byteCount: 2 << 20))
  }

  @Test("what is locked is whole pages, huge ones too, each in one mapping")
  func wholePages() {
    #expect(
      map.wholePages(of: [0x2000..<0x4000, 0x201000..<0x202000])
        == [0x2000..<0x3000, 0x3000..<0x4000, 0x200000..<0x400000])
  }

  @Test("this process's own map holds its memory")
  func own() throws {
    let pages = try UserPages(2)
    for detailed in [false, true] {
      let map = try ProcessMap(detailed: detailed)
      let range = pages.address..<pages.address + 8192
      #expect(map.readWriteParts(of: range) == [range])
    }
  }

  @Test("a page that is absent, or whose frame is hidden, has no physical address")
  func hiddenFrames() {
    #expect(PageMap.physicalAddress(1 << 63 | 0x1234) == 0x123_4000)
    #expect(PageMap.physicalAddress(0x1234) == nil)
    #expect(PageMap.physicalAddress(1 << 63) == nil)
  }

  @Test("numbers are read from text")
  func numbers() {
    #expect("MemAvailable:   123 kB".utf8.decimalNumber == 123)
    #expect("none".utf8.decimalNumber == nil)
    #expect(MemoryInfo.availableByteCount() ?? 0 > 0)
  }
}
