/// A descriptor of a split ring, or of an indirect table of either format (virtio 1.2, 2.7.5).
@frozen
public struct Descriptor: Equatable, Sendable {
  /// Device address of the first byte.
  public var address: UInt64
  /// Bytes.
  public var length: UInt32
  /// NEXT, WRITE, INDIRECT.
  public var flags: DescriptorFlags
  /// The next descriptor of the chain, valid with NEXT.
  public var next: UInt16

  /// Makes a descriptor from its fields.
  @inlinable
  public init(address: UInt64, length: UInt32, flags: DescriptorFlags, next: UInt16) {
    self.address = address
    self.length = length
    self.flags = flags
    self.next = next
  }
}

/// Flags of a descriptor (virtio 1.2, 2.7.5 and 2.8.1).
@frozen
public struct DescriptorFlags: OptionSet, Hashable, Sendable {
  /// The flags as they stand in the descriptor.
  public let rawValue: UInt16

  /// Wraps a descriptor's flags.
  @inlinable
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// 1: the chain goes on.
  public static var next: DescriptorFlags { DescriptorFlags(rawValue: 1) }
  /// 2: the device writes this buffer.
  public static var write: DescriptorFlags { DescriptorFlags(rawValue: 2) }
  /// 4: the buffer is a table of descriptors.
  public static var indirect: DescriptorFlags { DescriptorFlags(rawValue: 4) }
  /// Bit 7: made available (packed rings only).
  public static var available: DescriptorFlags { DescriptorFlags(rawValue: 1 << 7) }
  /// Bit 15: used (packed rings only).
  public static var used: DescriptorFlags { DescriptorFlags(rawValue: 1 << 15) }
}

/// Where everything stands in a split ring of `size` entries (virtio 1.2, 2.7).
///
/// All offsets are in bytes from the start of the area they are in.
public enum SplitLayout {
  /// The largest ring (virtio 1.2, 2.7).
  public static let maximumSize = 32768

  /// Bytes of a descriptor.
  @inlinable public static var descriptorStride: Int { 16 }
  /// Alignment of the descriptor table.
  public static let descriptorAlignment = 16
  /// Alignment of the available ring.
  public static let availableAlignment = 2
  /// Alignment of the used ring.
  public static let usedAlignment = 4

  /// Offset of `flags` in the available and in the used ring.
  @inlinable public static var flagsOffset: Int { 0 }
  /// Offset of `idx` in the available and in the used ring.
  @inlinable public static var indexOffset: Int { 2 }
  /// Offset of `ring[0]` in the available and in the used ring.
  @inlinable public static var ringOffset: Int { 4 }
  /// Bytes of an entry of the available ring: a head.
  @inlinable public static var availableStride: Int { 2 }
  /// Bytes of an entry of the used ring: id and length, 32 bits each.
  @inlinable public static var usedStride: Int { 8 }

  /// Bit 0 of `avail.flags`: no interrupt, please.
  public static let availableNoInterrupt: UInt16 = 1
  /// Bit 0 of `used.flags`: no notification, please.
  @inlinable public static var usedNoNotify: UInt16 { 1 }

  /// Bytes of the descriptor table.
  public static func descriptorByteCount(size: Int) -> Int { descriptorStride * size }
  /// Bytes of the available ring, `used_event` included.
  public static func availableByteCount(size: Int) -> Int { 6 + availableStride * size }
  /// Bytes of the used ring, `avail_event` included.
  public static func usedByteCount(size: Int) -> Int { 6 + usedStride * size }
  /// Offset of `used_event` in the available ring.
  public static func usedEventOffset(size: Int) -> Int { ringOffset + availableStride * size }
  /// Offset of `avail_event` in the used ring.
  public static func availableEventOffset(size: Int) -> Int { ringOffset + usedStride * size }

  /// Whether a split ring may have `size` entries: a power of two, 1 to 32,768.
  public static func isLegal(size: Int) -> Bool {
    size > 0 && size <= maximumSize && size & (size - 1) == 0
  }
}
