internal import Virtio

/// Every bound of the emulator, with its unit and its reason.
enum Limits {
  /// Queues of one disk. The bus locks them all for a map or a reset, so there are not thousands.
  static let queues = 64

  /// Entries of a ring (virtio 1.2, 2.7).
  static let queueSize = SplitLayout.maximumSize

  /// Descriptors of an indirect table, whatever the ring's size: what QEMU and Linux tolerate. By
  /// the letter a chain is no longer than its ring (2.7.5.3.1), but small rings with long tables
  /// are common.
  static let indirectDescriptors = 1024

  /// Bytes of one chain (virtio 1.2, 2.7.5.2).
  static let chainBytes: UInt64 = 1 << 32

  /// Rounds of one kick: a driver on another thread that refills for ever must not keep the thread
  /// that rang.
  static let serveRounds = 65_536

  /// Violations and DMA faults that are kept, each; later ones are only counted.
  static let keptReports = 256

  /// Transfers that a DMA trace holds; later ones are only counted.
  static let traceEntries = 1 << 16

  /// Segments of a discard or write-zeroes that may be configured.
  static let rangeSegments = 4096

  /// Bytes of writes, old and new contents, that a modelled cache remembers; older ones are
  /// durable.
  static let cacheBytes = 256 << 20

  /// Sectors of a zone unless said otherwise: 16 MiB.
  static let zoneSectors: UInt64 = 1 << 15

  /// Bits of a device address: what a common IOMMU translates.
  static let addressBits: UInt64 = 48

  /// MSI-X vectors of a function (PCI 3.0, 6.8.2).
  static let vectors = 2048

  /// Requests whose control lines the device thread asks for before it serves them: as many misses
  /// as a processor has under way at once.
  static let prefetched: UInt16 = 32

  /// Requests that the device thread serves before it shows them to the driver.
  static let publishGrain: UInt16 = 16

  /// Empty polls of the device thread before it arms notifications and sleeps.
  static let idlePolls = 600

  /// Empty polls of the device thread before it lets others run between two: the driver may need
  /// the same processor.
  static let eagerPolls = 500

  /// Longest sleep of the device thread in milliseconds; it looks at the rings after each.
  static let sleepMilliseconds: Int32 = 1000
}
