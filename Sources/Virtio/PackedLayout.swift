/// A descriptor of a packed ring (virtio 1.2, 2.8.13).
@frozen
public struct PackedDescriptor: Equatable, Sendable {
  /// Device address of the first byte.
  public var address: UInt64
  /// Bytes; in a used descriptor, the bytes that the device wrote.
  public var length: UInt32
  /// Buffer id; in a list it stands in the last descriptor.
  public var id: UInt16
  /// NEXT, WRITE, INDIRECT, AVAIL, USED.
  public var flags: DescriptorFlags

  /// Makes a descriptor from its fields.
  @inlinable
  public init(address: UInt64, length: UInt32, id: UInt16, flags: DescriptorFlags) {
    self.address = address
    self.length = length
    self.id = id
    self.flags = flags
  }
}

/// Where everything stands in a packed ring (virtio 1.2, 2.8).
public enum PackedLayout {
  /// The largest ring (virtio 1.2, 2.8.10.1).
  public static let maximumSize = 32768
  /// Bytes of a descriptor.
  @inlinable public static var descriptorStride: Int { 16 }
  /// Alignment of the descriptor ring.
  public static let descriptorAlignment = 16
  /// Offset of the length in a descriptor.
  @inlinable public static var lengthOffset: Int { 8 }
  /// Offset of the buffer id in a descriptor.
  @inlinable public static var idOffset: Int { 12 }
  /// Offset of the flags in a descriptor.
  @inlinable public static var flagsOffset: Int { 14 }
  /// Bytes, and alignment, of an event suppression structure.
  public static let eventByteCount = 4
  /// Offset of the position (15 bits) and wrap counter (1 bit) in it.
  @inlinable public static var eventPositionOffset: Int { 0 }
  /// Offset of the flags in it.
  @inlinable public static var eventFlagsOffset: Int { 2 }

  /// Event flags 0: notify always.
  @inlinable public static var eventEnable: UInt16 { 0 }
  /// Event flags 1: never notify.
  @inlinable public static var eventDisable: UInt16 { 1 }
  /// Event flags 2: notify for the descriptor at the given position (needs EVENT_IDX).
  @inlinable public static var eventDescriptor: UInt16 { 2 }

  /// Bytes of the descriptor ring.
  public static func descriptorByteCount(size: Int) -> Int { descriptorStride * size }
  /// Whether a packed ring may have `size` entries: any number from 1 to 32,768.
  public static func isLegal(size: Int) -> Bool { size > 0 && size <= maximumSize }
}
