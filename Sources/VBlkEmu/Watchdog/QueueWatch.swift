internal import Virtio

/// What a queue's rings and requests say of a driver, looked at before the device serves them.
///
/// Invariant: touched under its queue's lock only.
final class QueueWatch {
  let watchdog: Watchdog
  let queue: Int
  /// What was shown and not yet used, by head or id.
  var shown: [Int: Shown] = [:]
  /// Where the next chain begins, with IN_ORDER.
  var nextInOrder = 0
  /// The largest capacity that the driver was shown since the last reset.
  var capacitySectors: UInt64 = 0
  /// The limits that the driver was shown, 0 where there is none.
  var limits = ShownLimits()

  init(_ watchdog: Watchdog, queue: Int) {
    self.watchdog = watchdog
    self.queue = queue
  }

  /// A sum over all that the driver may not change, and the descriptor of its table.
  struct Shown {
    var sum: UInt64
    var table: Descriptor?
  }

  func report(_ rule: DriverRule, at position: Int, value: UInt64) {
    watchdog.report(rule, queue: queue, at: UInt64(position), value: value)
  }

  /// The driver can read this capacity from now on.
  func show(capacitySectors sectors: UInt64) { capacitySectors = max(capacitySectors, sectors) }

  func reset() {
    shown = [:]
    nextInOrder = 0
  }
}

/// Limits of requests as the device configuration shows them; 0 is none.
struct ShownLimits {
  var sizeMax: UInt32 = 0
  var segMax: UInt32 = 0
  var discardSectors: UInt32 = 0
  var discardSegments: UInt32 = 0
  var writeZeroesSectors: UInt32 = 0
  var writeZeroesSegments: UInt32 = 0

  init() {}

  /// What the driver reads, as far as it has negotiated what makes it valid.
  init(_ configuration: BlockConfiguration, _ features: Features) {
    typealias Layout = BlockConfigLayout
    func field(_ offset: Int, _ feature: Features) -> UInt32 {
      features.contains(feature) ? configuration.read(offset, width: 4) : 0
    }
    sizeMax = field(Layout.sizeMax, .sizeMax)
    segMax = features.contains(.segMax) ? max(1, field(Layout.segMax, .segMax)) : 0
    discardSectors = field(Layout.maxDiscardSectors, .discard)
    discardSegments = field(Layout.maxDiscardSegments, .discard)
    writeZeroesSectors = field(Layout.maxWriteZeroesSectors, .writeZeroes)
    writeZeroesSegments = field(Layout.maxWriteZeroesSegments, .writeZeroes)
  }
}

/// A chain or list as the watchdog reads it: leniently, for what is malformed the device names.
struct WatchedChain {
  /// Head (split) or buffer id (packed).
  var id = 0
  /// Slots that it takes of a packed ring.
  var span = 0
  var readable: [DataSegment] = []
  var writable: [DataSegment] = []
  /// A sum over its descriptors outside a packed ring, its table and its header.
  var sum: UInt64 = 0xCBF2_9CE4_8422_2325
  /// The descriptor that points to its table.
  var table: Descriptor?
  /// Whether descriptors follow the order that IN_ORDER asks for.
  var isInOrder = true

  mutating func add(_ words: (UInt64, UInt64)) {
    sum = (sum ^ words.0) &* 0x100_0000_01B3
    sum = (sum ^ words.1) &* 0x100_0000_01B3
  }

  mutating func append(_ descriptor: Descriptor) {
    let segment = DataSegment(address: descriptor.address, length: descriptor.length)
    if descriptor.flags.contains(.write) {
      writable.append(segment)
    } else {
      readable.append(segment)
    }
  }
}

extension DeviceQueue {
  /// Looks at the next `count` requests, which are about to be served, and at what was shown before
  /// and is still in flight.
  @inline(never)
  mutating func watchNext(_ count: UInt16) {
    guard let watch, !interposition.hostility.contains(.scribblesDescriptors) else { return }
    checkShown(watch)
    if isPacked {
      watchPacked(Int(count), watch)
    } else {
      watchSplit(count, watch)
    }
  }

  private func watchSplit(_ count: UInt16, _ watch: QueueWatch) {
    let flags = split.available.load16(SplitLayout.flagsOffset)
    if flags > (eventIndex ? 0 : SplitLayout.availableNoInterrupt) {
      watch.report(.availableFlags, at: Int(split.lastAvailable), value: UInt64(flags))
    }
    for step in 0..<count {
      let head = split.head(after: step)
      guard head < Int(size), let chain = readChain(head) else { return }
      if inOrder {
        if head != watch.nextInOrder || !chain.isInOrder {
          watch.report(.inOrder, at: head, value: UInt64(watch.nextInOrder))
        }
        watch.nextInOrder = (head + chain.span) & Int(split.mask)
      }
      see(chain, watch)
    }
  }

  private func watchPacked(_ count: Int, _ watch: QueueWatch) {
    var ahead = packed
    for _ in 0..<count {
      guard !ahead.isFull, ahead.isPending, let chain = readList(&ahead) else { return }
      see(chain, watch)
    }
  }

  private func see(_ chain: WatchedChain, _ watch: QueueWatch) {
    // One that is in flight already is the device's to name.
    guard watch.shown[chain.id] == nil else { return }
    watch.shown[chain.id] = QueueWatch.Shown(sum: chain.sum, table: chain.table)
    if let rule = requestRule(chain, watch) {
      watch.report(rule, at: chain.id, value: UInt64(chain.readable.count))
    }
  }

  /// Looks at what is in flight before some of it is used.
  @inline(never)
  mutating func watchShown() {
    guard let watch, !interposition.hostility.contains(.scribblesDescriptors) else { return }
    checkShown(watch)
  }

  /// Holds what is in flight against what was shown; forgets what was used.
  func checkShown(_ watch: QueueWatch) {
    for (id, shown) in watch.shown {
      guard stamps[id] >= stamp else {
        watch.shown[id] = nil
        continue
      }
      guard let chain = isPacked ? readShownTable(shown) : readChain(id),
        chain.sum != shown.sum
      else { continue }
      watch.report(isPacked ? .exposedPacked : .exposed, at: id, value: chain.sum)
      watch.shown[id]?.sum = chain.sum
    }
  }

  /// Of a packed ring only tables are left alone: used descriptors are written over others.
  private func readShownTable(_ shown: QueueWatch.Shown) -> WatchedChain? {
    var chain = WatchedChain()
    guard let table = shown.table, readTable(table, &chain) else { return nil }
    return finish(&chain)
  }

  /// The chain at `head`; nil if it leads anywhere that it may not.
  private func readChain(_ head: Int) -> WatchedChain? {
    var chain = WatchedChain()
    chain.id = head
    var index = head
    for _ in 0..<Int(size) {
      let words = split.words(index)
      let descriptor = Descriptor(words: words)
      chain.add(words)
      chain.span += 1
      if descriptor.flags.contains(.indirect) {
        return readTable(descriptor, &chain) ? finish(&chain) : nil
      }
      chain.append(descriptor)
      guard descriptor.flags.contains(.next) else { return finish(&chain) }
      guard descriptor.next < size else { return nil }
      if Int(descriptor.next) != (index + 1) & Int(split.mask) { chain.isInOrder = false }
      index = Int(descriptor.next)
    }
    return nil
  }

  /// The list at `ahead`, which goes on behind it.
  private func readList(_ ahead: inout PackedRing) -> WatchedChain? {
    var chain = WatchedChain()
    while !ahead.isFull {
      let descriptor = Descriptor(packed: (ahead.nextAddress, ahead.nextWord))
      ahead.take(1)
      chain.span += 1
      chain.id = Int(descriptor.next)
      if descriptor.flags.contains(.indirect) {
        guard chain.id < Int(size), readTable(descriptor, &chain) else { return nil }
        return finish(&chain)
      }
      chain.append(descriptor)
      if !descriptor.flags.contains(.next) {
        return chain.id < Int(size) ? finish(&chain) : nil
      }
    }
    return nil
  }

  private func readTable(_ owner: Descriptor, _ chain: inout WatchedChain) -> Bool {
    let stride = SplitLayout.descriptorStride
    chain.table = owner
    let count = min(Int(owner.length) / stride, Limits.indirectDescriptors)
    var index = 0
    for step in 0..<count {
      guard let words = peek(owner.address &+ UInt64(index * stride)) else { return false }
      let descriptor = isPacked ? Descriptor(packed: words) : Descriptor(words: words)
      chain.add(words)
      chain.append(descriptor)
      guard !isPacked else {
        index = step + 1
        continue
      }
      guard descriptor.flags.contains(.next) else { return true }
      guard Int(descriptor.next) < count else { return false }
      if Int(descriptor.next) != index + 1 { chain.isInOrder = false }
      index = Int(descriptor.next)
    }
    return isPacked
  }

  private func finish(_ chain: inout WatchedChain) -> WatchedChain {
    if let first = chain.readable.first, first.length >= RequestHeader.byteCount,
      let words = peek(first.address)
    {
      chain.add(words)
    }
    return chain
  }

  /// Two words at `address`, without a fault if they aren't there.
  func peek(_ address: UInt64) -> (UInt64, UInt64)? {
    guard address & 7 == 0, let run = pages.run(at: address), let offset = run.offset(address, 16)
    else { return nil }
    return run.memory.loadPair(offset)
  }

  /// Whether the areas of a queue that was just enabled are as they must be at first.
  func watchAreas(_ memory: [SharedMemory], _ extents: [QueueAreas.Extent], packed: Bool) {
    guard let watch else { return }
    if !packed, memory[2].load16(SplitLayout.flagsOffset) != 0 {
      watch.report(.usedFlags, at: 2, value: UInt64(memory[2].load16(SplitLayout.flagsOffset)))
      return
    }
    // A split ring's descriptors may be written before; nothing shows them.
    for (area, extent) in extents.enumerated() where packed || area > 0 {
      for offset in stride(from: 0, to: Int(extent.byteCount) & ~1, by: 2)
      where memory[area].load16(offset) != 0 {
        watch.report(.areasNotZero, at: area, value: UInt64(offset))
        return
      }
    }
  }
}
