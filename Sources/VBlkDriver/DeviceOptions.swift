import CHostIO
public import DMAPool
public import Logging
public import PCI
public import Virtio

/// How a device is opened.
public struct DeviceOptions: Sendable {
  /// Queues to set up; each is handed out once by ``Device/makeQueue()``.
  public var queues = 1
  /// Operations in flight that a queue should allow; the ring is chosen for it, as far as the
  /// device goes.
  public var depth = 128
  /// Features not to accept though offered and known.
  public var declinedFeatures: Features = []
  /// Bytes of ``Device/memory``.
  public var memoryByteCount = 32 << 20
  /// Which pages ``Device/memory`` is made of.
  public var pages = PageChoice.hugeIfAvailable
  /// How the device addresses of ``Device/memory`` lie; not contiguous only in tests.
  public var layout = RunLayout.contiguous
  /// Whether the device's interrupts are set up too, so that a thread can sleep until a completion:
  /// see ``Queue/armInterrupt()``. A queue polls all the same.
  public var interrupts = false
  /// How long an operation may take before the device is reset, in nanoseconds.
  public var deadlineNanoseconds: UInt64 = Limits.deadlineNanoseconds
  /// Bounce blocks a queue, of 64 KiB or a logical block each; at least 1.
  public var bounceBlocks = Limits.bounceBlocks
  /// Where the control plane reports; silent unless given.
  public var logger = Logger(label: "vblk", factory: { _ in SwiftLogNoOpLogHandler() })

  /// The clock of deadlines and ticks; tests set their own.
  package var clock: @Sendable () -> UInt64 = { chio_now_ns() }

  /// The defaults.
  public init() {}
}

/// What a device is, as it said when it was opened.
public struct DeviceInfo: Sendable {
  /// The PCI address, or the emulated device's name.
  public let name: String
  /// Bytes of the device.
  public let capacityBytes: UInt64
  /// Whether every write is refused.
  public let isReadOnly: Bool
  /// Features that the device offers.
  public let offered: Features
  /// Features that were agreed.
  public let accepted: Features
  /// What one request may be.
  public let limits: QueueLimits
  /// Queues that the device has.
  public let availableQueues: Int
  /// Whether completed writes could be lost until a FLUSH when the device was opened (virtio 1.2,
  /// 5.2.6.2); see ``Device/writeCache`` for now.
  public let hasVolatileCache: Bool
  /// Entries of each queue that was set up.
  public let queueSizes: [Int]
  /// Operations that a queue can have in flight.
  public let depth: Int
  /// The NUMA node near the device, if the system names one.
  public let numaNode: Int?
  /// The function's regions, and how this process reaches each.
  public let regions: [PCIRegion]
}
