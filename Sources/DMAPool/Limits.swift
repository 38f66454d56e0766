/// The bounds of the DMA memory, each with its unit and its reason.
enum Limits {
  /// Bytes of a small page. x86-64 and the usual arm64 kernels have 4 KiB ones.
  static let pageByteCount = 4096

  /// Bytes of a huge page: the size that every x86-64 machine has.
  static let hugePageByteCount = 2 << 20

  /// Alignment of device addresses in bytes: a huge page is one entry of an IOMMU's table only if
  /// both of its addresses have this alignment.
  static let deviceAlignment: UInt64 = 2 << 20

  /// Device addresses in bytes left unused after each piece of memory, so that a transfer which
  /// runs over its end meets a fault and not a neighbour.
  static let deviceGuard: UInt64 = 2 << 20

  /// The largest arena in bytes: 16 TiB, far below the 128 TiB of a process, so that no sum of
  /// sizes overflows.
  static let maximumByteCount = 1 << 44

  /// The largest alignment of a buffer in bytes: the alignment of an arena itself.
  static let maximumAlignment = hugePageByteCount

  /// Buffers start and end at multiples of so many bytes: a cache line, so that a device which
  /// writes one buffer never shares a line with another.
  static let granule = 64

  /// How often an interrupted system call is tried again before its EINTR becomes an error.
  static let interruptedTries = 64

  /// Records of buffers that are allocated at once.
  static let recordsPerSlab = 64

  /// Bytes of a device's logical sector; bounce blocks are a multiple of it.
  static let sectorByteCount = 512
}

/// `value` rounded up to a multiple of `unit`, a power of two.
func roundedUp(_ value: Int, to unit: Int) -> Int { (value + unit - 1) & ~(unit - 1) }
