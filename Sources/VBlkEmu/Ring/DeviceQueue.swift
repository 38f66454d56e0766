internal import Virtio

/// One virtqueue from the device's side: the state that requests need whatever the format of the
/// ring, and beside it the ring in its format, which is fixed when the queue is enabled.
///
/// ```
/// SplitRing | PackedRing   where the driver's descriptors are, what was used, who wants to know
/// DeviceQueue              what is in flight, translation, execution, faults, reports
/// ```
/// Invariants
/// 1. While `live`, the ring that `isPacked` says is mapped for `size` entries, a legal size of its
///    format; the other one is idle.
/// 2. A head or buffer id is in flight exactly while its stamp is not less than `stamp`; none is
///    taken twice.
/// 3. Nothing that the driver wrote is read twice or used unchecked.
/// 4. The struct is touched only with the queue's lock held; deinit frees nothing shared.
struct DeviceQueue: ~Copyable {
  let index: Int

  // Set while the queue is enabled.
  var split = SplitRing(DeviceQueue.noAreas, size: 1)
  var packed = PackedRing(DeviceQueue.noAreas, size: 1)
  /// Which of the two rings it is.
  var isPacked = false
  var size: UInt16 = 0
  /// Whether requests may be taken: enabled, DRIVER_OK, bus master, neither broken nor removed.
  var live = false
  /// Broken by a violation until the next reset.
  var broken = false
  /// Whether the rings are mapped; an unmap while enabled clears it.
  var ringsMapped = false
  var eventIndex = false
  var indirect = false
  /// Whether buffers are used in the order in which they were made available.
  var inOrder = false
  /// Whether one used element stands for a batch: in order, and configured so.
  var merges = false
  var mayMerge = true
  var vector = VirtioPCI.noVector
  /// Device addresses of the three areas, to see whether an unmap takes them.
  var areas = QueueAreas()

  /// The element that stands for what was used in order and not yet written to the ring.
  var merged: UsedElement?
  var stamp: UInt32 = 1
  let stamps: HeadStamps

  // Translation: the last runs hit, for headers, tables and statuses, and for data.
  let pages: PageTable
  var controlRun = Run.empty
  var dataRun = Run.empty

  // What requests need of the disk; changed with the locks of all queues held.
  var store: Store
  var capacitySectors: UInt64
  var readOnly = false
  var writeThrough = false
  var features: Features = []
  var limits: RangeLimits
  var zones: ZoneSet?
  var cache: VolatileCache?
  var serial: [UInt8] = []
  var lifetime: [UInt8] = []

  /// Whether each request goes the long way: faults, hostility, a trace or an order are set.
  var interposed = false
  var interposition = Interposition()
  /// What names the rules that the driver breaks, if wanted.
  var watch: QueueWatch?

  /// Requests taken and not yet returned: held by a fault rule, or stepped.
  var inFlight: [UInt64: Request] = [:]
  var nextRequest: UInt64 = 0
  /// Scratch of the request that is being served, kept for its storage.
  let scratch = RequestScratch()
  var hostSegments = HostSegments()
  /// A doorbell rang and nobody has served it yet (stepped mode).
  var kicked = false

  let signals: DeviceSignals
  var counters = QueueCounters()
  var reports = Reports()

  init(
    index: Int, maximumSize: Int, pages: PageTable, signals: DeviceSignals, store: Store,
    capacitySectors: UInt64, limits: RangeLimits
  ) {
    self.index = index
    stamps = HeadStamps(count: maximumSize)
    self.pages = pages
    self.signals = signals
    self.store = store
    self.capacitySectors = capacitySectors
    self.limits = limits
  }

  private static var noAreas: [SharedMemory] { Array(repeating: Run.empty.memory, count: 3) }

  /// Forgets everything that a driver set up; counters and reports stay.
  mutating func reset() {
    resetRing()
    broken = false
    features = []
    eventIndex = false
    indirect = false
    inOrder = false
    merges = false
    writeThrough = false
  }

  /// Forgets the ring and all that is in flight; what was negotiated stays (RING_RESET, virtio 1.2,
  /// 2.6.1). A broken queue is mended only by ``reset()``: NEEDS_RESET means the device.
  mutating func resetRing() {
    live = false
    ringsMapped = false
    size = 0
    vector = VirtioPCI.noVector
    stamp = 1
    stamps.clear()
    merged = nil
    kicked = false
    inFlight.removeAll()
    watch?.reset()
    controlRun = .empty
    dataRun = .empty
    setRing(DeviceQueue.noAreas, size: 1, packed: false)
  }

  /// Makes an idle ring of each format, and the one that is `packed` or not of the areas `memory`.
  mutating func setRing(_ memory: [SharedMemory], size: Int, packed isPacked: Bool) {
    split = SplitRing(isPacked ? DeviceQueue.noAreas : memory, size: isPacked ? 1 : size)
    packed = PackedRing(isPacked ? memory : DeviceQueue.noAreas, size: isPacked ? size : 1)
    self.isPacked = isPacked
  }
}
