import Testing
import Virtio

@Suite struct SplitLayoutTests {
  @Test("2.7.5 a descriptor is address, length, flags, next in 16 bytes")
  func descriptor() {
    #expect(MemoryLayout<Descriptor>.size == 16)
    #expect(MemoryLayout<Descriptor>.stride == 16)
    #expect(MemoryLayout<Descriptor>.offset(of: \.address) == 0)
    #expect(MemoryLayout<Descriptor>.offset(of: \.length) == 8)
    #expect(MemoryLayout<Descriptor>.offset(of: \.flags) == 12)
    #expect(MemoryLayout<Descriptor>.offset(of: \.next) == 14)
    #expect(SplitLayout.descriptorStride == 16)
    #expect(SplitLayout.descriptorAlignment == 16)
  }

  @Test("2.7.5 and 2.8.1 descriptor flags")
  func flags() {
    #expect(DescriptorFlags.next.rawValue == 1)
    #expect(DescriptorFlags.write.rawValue == 2)
    #expect(DescriptorFlags.indirect.rawValue == 4)
    #expect(DescriptorFlags.available.rawValue == 0x80)
    #expect(DescriptorFlags.used.rawValue == 0x8000)
  }

  @Test("2.7.5 a descriptor's bytes are little-endian, in order")
  func bytes() {
    let descriptor = Descriptor(
      address: 0x1122_3344_5566_7788, length: 0x99AA_BBCC, flags: [.next, .write], next: 0xDDEE)
    let bytes = unsafe withUnsafeBytes(of: descriptor) { unsafe Array($0) }
    #expect(
      bytes == [
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xCC, 0xBB, 0xAA, 0x99, 3, 0, 0xEE, 0xDD,
      ])
  }

  @Test("2.7.6 and 2.7.8 the rings begin with flags and idx")
  func rings() {
    #expect(SplitLayout.flagsOffset == 0)
    #expect(SplitLayout.indexOffset == 2)
    #expect(SplitLayout.ringOffset == 4)
    #expect(SplitLayout.availableStride == 2)
    #expect(SplitLayout.usedStride == 8)
    #expect(SplitLayout.availableAlignment == 2)
    #expect(SplitLayout.usedAlignment == 4)
    #expect(SplitLayout.availableNoInterrupt == 1)
    #expect(SplitLayout.usedNoNotify == 1)
    #expect(SplitLayout.maximumSize == 32768)
  }

  @Test(
    "2.7 sizes of the three areas and the places of the events",
    arguments: [
      (size: 1, table: 16, available: 8, used: 14, usedEvent: 6, availableEvent: 12),
      (size: 8, table: 128, available: 22, used: 70, usedEvent: 20, availableEvent: 68),
      (size: 256, table: 4096, available: 518, used: 2054, usedEvent: 516, availableEvent: 2052),
      (
        size: 32768, table: 524_288, available: 65_542, used: 262_150, usedEvent: 65_540,
        availableEvent: 262_148
      ),
    ])
  func areas(
    size: Int, table: Int, available: Int, used: Int, usedEvent: Int, availableEvent: Int
  ) {
    #expect(SplitLayout.descriptorByteCount(size: size) == table)
    #expect(SplitLayout.availableByteCount(size: size) == available)
    #expect(SplitLayout.usedByteCount(size: size) == used)
    #expect(SplitLayout.usedEventOffset(size: size) == usedEvent)
    #expect(SplitLayout.availableEventOffset(size: size) == availableEvent)
  }

  @Test("2.7 a split ring's size is a power of two up to 32,768")
  func legalSizes() {
    let legal = (-1...70_000).filter { SplitLayout.isLegal(size: $0) }
    #expect(
      legal == [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768,
      ])
    #expect(!SplitLayout.isLegal(size: .min) && !SplitLayout.isLegal(size: .max))
  }
}

@Suite struct PackedLayoutTests {
  @Test("2.8.13 a packed descriptor is address, length, id, flags in 16 bytes")
  func descriptor() {
    #expect(MemoryLayout<PackedDescriptor>.size == 16)
    #expect(MemoryLayout<PackedDescriptor>.stride == 16)
    #expect(MemoryLayout<PackedDescriptor>.offset(of: \.address) == 0)
    #expect(MemoryLayout<PackedDescriptor>.offset(of: \.length) == 8)
    #expect(MemoryLayout<PackedDescriptor>.offset(of: \.id) == 12)
    #expect(MemoryLayout<PackedDescriptor>.offset(of: \.flags) == 14)
    #expect(PackedLayout.descriptorStride == 16)
    #expect(PackedLayout.descriptorAlignment == 16)
    #expect(PackedLayout.lengthOffset == 8)
    #expect(PackedLayout.idOffset == 12)
    #expect(PackedLayout.flagsOffset == 14)
    #expect(PackedLayout.descriptorByteCount(size: 256) == 4096)
  }

  @Test("2.8.14 event suppression: position and wrap counter, then flags")
  func events() {
    #expect(PackedLayout.eventByteCount == 4)
    #expect(PackedLayout.eventPositionOffset == 0)
    #expect(PackedLayout.eventFlagsOffset == 2)
    #expect(PackedLayout.eventEnable == 0)
    #expect(PackedLayout.eventDisable == 1)
    #expect(PackedLayout.eventDescriptor == 2)
  }

  @Test("2.8.10.1 a packed ring has any size from 1 to 32,768")
  func legalSizes() {
    let legal = (-1...40_000).filter { PackedLayout.isLegal(size: $0) }
    #expect(legal == Array(1...32768))
    #expect(PackedLayout.maximumSize == 32768)
  }
}
