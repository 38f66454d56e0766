import Foundation
import Testing

@testable import PCI

@Suite("Binding: signatures of data")
struct DataSignatureTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree() }

  private func name(_ bytes: [UInt8]) -> String? {
    DataSignature.find(in: bytes, node: "vdb")?.name
  }

  @Test("each mark is found where it stands, and nothing in front of it or cut off")
  func marks() {
    for mark in DataSignature.marks {
      var bytes = [UInt8](repeating: 0, count: DataSignature.byteCount)
      bytes.replaceSubrange(mark.offset..<mark.offset + mark.bytes.count, with: mark.bytes)
      let found = DataSignature.find(in: bytes, node: "vdb1")
      #expect(found?.name == mark.name)
      #expect(found?.offset == mark.offset)
      #expect(
        found?.description == "\(mark.name) on vdb1 (mark at byte \(mark.offset))")
      #expect(name(Array(bytes.prefix(mark.offset + mark.bytes.count - 1))) == nil, "\(mark.name)")
    }
  }

  @Test("nothing in zeroes, nothing in a short device, hardly anything in noise")
  func nothing() {
    #expect(name([]) == nil)
    #expect(name([UInt8](repeating: 0, count: DataSignature.byteCount)) == nil)
    #expect(name([UInt8](repeating: 0xFF, count: DataSignature.byteCount)) == nil)
    var state: UInt64 = 1
    let noise = (0..<DataSignature.byteCount).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 56)
    }
    #expect(name(noise) == nil, "seed 1")
  }

  @Test("ZFS in either byte order, anywhere in its ring")
  func zfs() {
    for mark in [[0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0xBA, 0xB1, 0x0C]] as [[UInt8]]
    {
      for slot in [0, 1, 77, 127] {
        var bytes = [UInt8](repeating: 0, count: 256 << 10)
        let offset = (128 + slot) << 10
        bytes.replaceSubrange(offset..<offset + 8, with: mark)
        #expect(name(bytes) == "ZFS", "slot \(slot)")
      }
    }
  }

  @Test("a DOS partition table, and a boot sector that is none")
  func bootSector() {
    var bytes = [UInt8](repeating: 0, count: 4_096)
    bytes[510] = 0x55
    bytes[511] = 0xAA
    #expect(name(bytes) == "boot sector")
    bytes[450] = 0x83
    #expect(name(bytes) == "DOS partition table")
    bytes[446] = 0x33
    #expect(name(bytes) == "boot sector")
  }

  @Test(
    "what the system's own tools make",
    arguments: [
      ("mkfs.ext4 -q -F -t ext2 FILE", "ext2"), ("mkfs.ext4 -q -F -t ext3 FILE", "ext3"),
      ("mkfs.ext4 -q -F -t ext4 FILE", "ext4"),
      ("mkfs.ext4 -q -F -b 4096 -O journal_dev FILE", "ext journal"), ("mkswap FILE", "swap"),
      ("echo ', , 83' | sfdisk -q FILE", "DOS partition table"),
      ("echo 'label: gpt' | sfdisk -q FILE", "GPT partition table"),
      ("mkfs.xfs -q FILE", "XFS"), ("mkfs.btrfs -q FILE", "Btrfs"),
      ("mkfs.vfat -F 32 FILE", "FAT32"),
    ])
  func realTools(command: String, expected: String) throws {
    try tree.write("disk", "")
    let path = "\(tree.root)/disk"
    let sized = unsafe truncate(path, 320 << 20)
    #expect(sized == 0)
    let tool = command.split(separator: " ").first { $0.hasPrefix("mk") || $0 == "sfdisk" }
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = [
      "-c",
      "PATH=$PATH:/sbin:/usr/sbin; command -v \(tool ?? "") > /dev/null || exit 99; "
        + command.replacingOccurrences(of: "FILE", with: path),
    ]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    if process.terminationStatus == 99 {
      print("skipped: \(tool ?? "") is not here (\(expected))")
      return
    }
    #expect(process.terminationStatus == 0, "\(command)")
    let bytes = try #require(
      try SystemRoots.bytes(at: path, atMost: DataSignature.byteCount))
    #expect(bytes.count == DataSignature.byteCount)
    #expect(name(bytes) == expected)
  }
}
