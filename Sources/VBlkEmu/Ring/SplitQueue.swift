internal import CHostIO
internal import Virtio

/// One virtqueue in the split layout, from the device's side (virtio 1.2, 2.7).
///
/// ```
/// descriptors  [0] [1] [2] …                     driver writes, we read once
/// available    flags idx ring[…] used_event      driver writes, we read once
/// used         flags idx ring[…] avail_event     we write, never read back
/// ```
/// Invariants
/// 1. While `live`, the three areas are mapped for `size` entries and size is a legal size.
/// 2. distance(lastAvailable -> avail.idx) <= size, or the queue is broken.
/// 3. A head is in flight exactly while its stamp is not less than `stamp`; none is taken twice.
/// 4. distance(usedPublished -> usedShadow) <= size; used.idx == usedPublished.
/// 5. Nothing that the driver wrote is read twice or used unchecked.
/// 6. The struct is touched only with the queue's lock held; deinit frees nothing shared.
///
/// Device order (the letters stand in the driver's ring file too)
/// 1. load avail.idx                                     acquire A
/// 2. ring[slot], descriptors, header: each copied once
/// 3. data, then status
/// 4. used.ring[slot]
/// 5. store used.idx                                     release U
/// 6. store avail_event or used.flags
/// 7. fence N and K: used.idx before the load of used_event (or avail.flags), else a notification
///    is lost; avail_event before the next load of avail.idx, else a kick is lost
/// 8. load used_event -> notify? load avail.idx again
struct SplitQueue: ~Copyable {
  let index: Int

  // Set while the queue is enabled.
  var descriptors: SharedMemory
  var available: SharedMemory
  var used: SharedMemory
  var size: UInt16 = 0
  var mask: UInt16 = 0
  /// Whether requests may be taken: enabled, DRIVER_OK, bus master, neither broken nor removed.
  var live = false
  /// Broken by a violation until the next reset.
  var broken = false
  /// Whether the rings are mapped; an unmap while enabled clears it.
  var ringsMapped = false
  var eventIndex = false
  var indirect = false
  var vector = VirtioPCI.noVector
  /// Device addresses of the three areas, to see whether an unmap takes them.
  var areas = QueueAreas()

  // Ours: where we are.
  var lastAvailable: UInt16 = 0
  var usedShadow: UInt16 = 0
  var usedPublished: UInt16 = 0
  /// The used index at the last decision whether to notify.
  var usedNotified: UInt16 = 0
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
  var serial: [UInt8] = []

  /// Whether each request goes the long way: faults, hostility, a trace or an order are set.
  var interposed = false
  var interposition = Interposition()

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
    descriptors = Run.empty.memory
    available = Run.empty.memory
    used = Run.empty.memory
  }

  /// Forgets everything that a driver set up; counters and reports stay.
  mutating func reset() {
    live = false
    broken = false
    ringsMapped = false
    size = 0
    mask = 0
    vector = VirtioPCI.noVector
    lastAvailable = 0
    usedShadow = 0
    usedPublished = 0
    usedNotified = 0
    stamp = 1
    stamps.clear()
    features = []
    eventIndex = false
    indirect = false
    writeThrough = false
    kicked = false
    inFlight.removeAll()
    controlRun = .empty
    dataRun = .empty
    descriptors = Run.empty.memory
    available = Run.empty.memory
    used = Run.empty.memory
  }

  /// How many entries the driver has made available and we have not taken; nil, and the queue is
  /// broken, if that is more than the ring holds [hostile driver 1, 2].
  mutating func pending() -> UInt16? {
    // Acquire A: the entries and descriptors below were written before the index.
    let index = available.load16Acquire(SplitLayout.indexOffset)
    let distance = index &- lastAvailable
    guard _fastPath(distance <= size) else {
      breakQueue(.availableIndexJumped, at: UInt64(lastAvailable), value: UInt64(index))
      return nil
    }
    return distance
  }

  /// Takes the next head from the available ring; nil, and the queue is broken, if it can't be one.
  @inline(__always)
  mutating func takeHead() -> Int? {
    let slot = SplitLayout.ringOffset &+ SplitLayout.availableStride &* Int(lastAvailable & mask)
    let head = Int(available.load16(slot))
    guard _fastPath(head < Int(size)), _fastPath(stamps[head] < stamp) else {
      breakQueue(
        head < Int(size) ? .headInFlight : .headOutOfRange, at: UInt64(lastAvailable),
        value: UInt64(head))
      return nil
    }
    stamps[head] = stamp
    lastAvailable &+= 1
    return head
  }

  /// Writes the next used entry, which the driver sees when the index is published.
  @inline(__always)
  mutating func pushUsed(head: Int, written: UInt32) {
    let slot = SplitLayout.ringOffset &+ SplitLayout.usedStride &* Int(usedShadow & mask)
    used.store32(slot, UInt32(truncatingIfNeeded: head))
    used.store32(slot &+ 4, written)
    usedShadow &+= 1
  }

  /// Ends a batch: publishes what was used, says when the next kick is wanted, notifies once.
  ///
  /// - Parameter wantKicks: Whether the driver shall kick for the next entry.
  mutating func finishBatch(wantKicks: Bool) {
    if usedPublished != usedShadow { publish() }
    armKicks(wantKicks)
    // Fences N and K, in one.
    chio_fence_full()
    if _slowPath(interposed) {
      finishInterposed()
    } else if usedNotified != usedPublished {
      notifyOfPublished()
    }
  }

  /// Release U: the driver that sees the index sees the entries, statuses and data.
  mutating func publish() {
    used.store16Release(SplitLayout.indexOffset, usedShadow)
    usedPublished = usedShadow
    stamp &+= 1
    if stamp == HeadStamps.held { restartStamps() }
  }

  @inline(never)
  private mutating func restartStamps() {
    for head in 0..<Int(size) where stamps[head] != HeadStamps.held { stamps[head] = 0 }
    stamp = 1
  }

  /// Says when the driver shall kick (virtio 1.2, 2.7.10.1); the caller fences (K).
  mutating func armKicks(_ wanted: Bool) {
    if eventIndex {
      // Left behind, the event lies a whole turn of the index away: no kick.
      if wanted {
        used.store16(SplitLayout.availableEventOffset(size: Int(size)), lastAvailable)
      }
    } else {
      used.store16(SplitLayout.flagsOffset, wanted ? 0 : SplitLayout.usedNoNotify)
    }
  }

  /// Notifies the driver of the entries published since the last decision, unless it has suppressed
  /// that (virtio 1.2, 2.7.7.2); the caller has fenced (N).
  mutating func notifyOfPublished() {
    let wanted: Bool
    if eventIndex {
      let event = available.load16(SplitLayout.usedEventOffset(size: Int(size)))
      wanted = RingIndex.crosses(
        event: RingIndex(event), from: RingIndex(usedNotified), to: RingIndex(usedPublished))
    } else {
      let flags = available.load16(SplitLayout.flagsOffset)
      wanted = flags & SplitLayout.availableNoInterrupt == 0
    }
    usedNotified = usedPublished
    if wanted {
      notify()
    } else {
      counters.suppressedNotifications &+= 1
    }
  }

  /// Notifies the driver, wanted or not.
  mutating func notify() {
    counters.notifications &+= 1
    signals.raiseQueue(vector: vector)
  }
}
