/// What lies on a disk or a partition, by the mark that its maker left in the first MiB or so: a
/// file system, a volume manager, a partition table.
///
/// What has its mark at the end only (old md metadata, a GPT whose first half is lost) isn't seen.
package struct DataSignature: Sendable, Equatable, CustomStringConvertible {
  /// The block device: "vdb1".
  package let node: String
  /// What is there: "ext4", "GPT partition table".
  package let name: String
  /// Where its mark is, in bytes from the start.
  package let offset: Int

  package var description: String { "\(name) on \(node) (mark at byte \(offset))" }

  /// Bytes that are looked at: the last mark, VMFS's, stands just behind the first MiB.
  static let byteCount = (1 << 20) + 4_096

  /// The first mark in the first bytes of a device, nil where there is none.
  static func find(in bytes: [UInt8], node: String) -> DataSignature? {
    let device = DeviceStart(bytes: bytes)
    let mark = marks.first { device.has($0.bytes, at: $0.offset) }
    let found: (name: String, offset: Int)? =
      mark.map { ($0.name, $0.offset) } ?? device.ext ?? device.zfs ?? device.bootSector
    return found.map { DataSignature(node: node, name: $0.name, offset: $0.offset) }
  }

  /// A constant at a fixed place.
  struct Mark: Sendable {
    let name: String
    let offset: Int
    let bytes: [UInt8]

    init(_ name: String, _ offset: Int, _ bytes: [UInt8]) {
      self.name = name
      self.offset = offset
      self.bytes = bytes
    }

    init(_ name: String, _ offset: Int, _ text: String) {
      self.init(name, offset, Array(text.utf8))
    }
  }

  /// What holds others comes first: encryption, volumes, then file systems, then partition tables.
  static let marks: [Mark] = [
    Mark("LUKS1", 0, Array("LUKS".utf8) + [0xBA, 0xBE, 0, 1]),
    Mark("LUKS2", 0, Array("LUKS".utf8) + [0xBA, 0xBE, 0, 2]),
    Mark("LVM2", 0x018, "LVM2 001"), Mark("LVM2", 0x218, "LVM2 001"),
    Mark("LVM2", 0x418, "LVM2 001"), Mark("LVM2", 0x618, "LVM2 001"),
    Mark("Linux md RAID", 0, [0xFC, 0x4E, 0x2B, 0xA9]),
    Mark("Linux md RAID", 0x1000, [0xFC, 0x4E, 0x2B, 0xA9]),
    Mark("bcache", 0x1018, [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA]),
    Mark("bcachefs", 0x1018, [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9]),
    Mark("Ceph BlueStore", 0, "bluestore block device"),
    Mark("VMFS", 0x10_0000, [0x0D, 0xD0, 0x01, 0xC0]),
    Mark("swap", 0xFF6, "SWAPSPACE2"), Mark("swap", 0xFFF6, "SWAPSPACE2"),
    Mark("swap", 0xFF6, "SWAP-SPACE"), Mark("hibernation image", 0xFF6, "S1SUSPEND"),
    Mark("XFS", 0, "XFSB"), Mark("Btrfs", 0x1_0040, "_BHRfS_M"),
    Mark("F2FS", 0x400, [0x10, 0x20, 0xF5, 0xF2]),
    Mark("NTFS", 3, "NTFS    "), Mark("exFAT", 3, "EXFAT   "), Mark("BitLocker", 3, "-FVE-FS-"),
    Mark("SquashFS", 0, "hsqs"), Mark("EROFS", 0x400, [0xE2, 0xE1, 0xF5, 0xE0]),
    Mark("cramfs", 0, [0x45, 0x3D, 0xCD, 0x28]), Mark("romfs", 0, "-rom1fs-"),
    Mark("JFS", 0x8000, "JFS1"),
    Mark("ReiserFS", 0x1_0034, "ReIsEr"), Mark("Reiser4", 0x1_0000, "ReIsEr4"),
    Mark("NILFS2", 0x406, [0x34, 0x34]),
    Mark("OCFS2", 0x400, "OCFSV2"), Mark("OCFS2", 0x800, "OCFSV2"),
    Mark("OCFS2", 0x1000, "OCFSV2"), Mark("OCFS2", 0x2000, "OCFSV2"),
    Mark("GFS2", 0x1_0000, [0x01, 0x16, 0x19, 0x70, 0, 0, 0, 1]),
    Mark("UFS2", 0x1_055C, [0x19, 0x01, 0x54, 0x19]),
    Mark("APFS", 0x20, "NXSB"), Mark("HFS+", 0x400, [0x48, 0x2B, 0, 4]),
    Mark("HFSX", 0x400, [0x48, 0x58, 0, 5]),
    Mark("ISO 9660", 0x8001, "CD001"), Mark("UDF", 0x8001, "BEA01"),
    Mark("FAT32", 0x52, "FAT32   "), Mark("FAT16", 0x36, "FAT16   "),
    Mark("FAT12", 0x36, "FAT12   "), Mark("FAT", 0x36, "FAT     "),
    Mark("GPT partition table", 512, "EFI PART"), Mark("GPT partition table", 4_096, "EFI PART"),
    Mark("Sun partition table", 508, [0xDA, 0xBE]),
  ]
}

/// The first bytes of a device, and the signatures that are more than a constant.
struct DeviceStart {
  let bytes: [UInt8]

  func has(_ mark: [UInt8], at offset: Int) -> Bool {
    offset + mark.count <= bytes.count
      && bytes[offset..<offset + mark.count].elementsEqual(mark)
  }

  /// ext2, ext3 and ext4 share their mark: feature words tell them apart.
  var ext: (name: String, offset: Int)? {
    guard has([0x53, 0xEF], at: 0x438), bytes.count >= 0x468 else { return nil }
    let compatible = bytes[0x45C]
    let incompatible = UInt16(bytes[0x460]) | UInt16(bytes[0x461]) << 8
    let readOnlyCompatible = bytes[0x464]
    // A device that is only the journal of another; extents, 64 bits, flexible groups and the like;
    // huge files, checksums and the like; a journal.
    let name =
      incompatible & 0x8 != 0
      ? "ext journal"
      : incompatible & 0xFFC0 != 0 || readOnlyCompatible & 0xF8 != 0
        ? "ext4" : compatible & 0x4 != 0 ? "ext3" : "ext2"
    return (name, 0x438)
  }

  /// A ring of 128 uberblocks of 1 KiB from 128 KiB on, in either byte order.
  var zfs: (name: String, offset: Int)? {
    for offset in stride(from: 128 << 10, to: 256 << 10, by: 1 << 10)
    where has([0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0], at: offset)
      || has([0, 0, 0, 0, 0, 0xBA, 0xB1, 0x0C], at: offset)
    {
      return ("ZFS", offset)
    }
    return nil
  }

  /// 55 AA at the end of the first sector: a partition table where its entries make sense.
  var bootSector: (name: String, offset: Int)? {
    guard has([0x55, 0xAA], at: 510) else { return nil }
    let entries = (0..<4).map { 446 + 16 * $0 }
    let isTable =
      entries.allSatisfy { bytes[$0] & 0x7F == 0 } && entries.contains { bytes[$0 + 4] != 0 }
    return (isTable ? "DOS partition table" : "boot sector", 510)
  }
}
