import DMAPool
import Logging
import PCI
import Virtio

/// From a function to a device that runs: negotiation, memory, queues, DRIVER_OK (virtio 1.2, 3.1).
extension Device {
  struct Opened {
    let info: DeviceInfo
    let generation: UInt8
    let memory: DMAArena
    let rings: DMAArena
    let queues: [QueueMemory]
    let interrupts: Interrupts?
  }

  static func bringUp(
    _ transport: VirtioPCITransport, _ options: DeviceOptions
  ) throws(VBlkError) -> Opened {
    precondition(options.queues > 0, "a device is opened with at least one queue")
    precondition(options.depth > 0, "a queue has a depth of at least 1")
    precondition(options.bounceBlocks > 0, "a queue has at least one bounce block")
    do throws(VBlkError) {
      return try setUp(transport, options)
    } catch {
      transport.addStatus(.failed)
      throw error
    }
  }

  private static func setUp(
    _ transport: VirtioPCITransport, _ options: DeviceOptions
  ) throws(VBlkError) -> Opened {
    let function = transport.function
    let agreed = try Negotiation(transport, declining: options.declinedFeatures)
    // Only now: what a killed process left running on it was stopped by the reset.
    do { try function.setBusMaster(true) } catch { throw VBlkError(error) }
    let available = try agreed.availableQueues(transport)
    guard options.queues <= available else {
      throw VBlkError(
        .invalidArgument,
        "\(function.name) has \(available) queues, \(options.queues) were asked for",
        remedy: "ask for 1 to \(available)")
    }
    let layouts = try (0..<options.queues).map { index throws(VBlkError) in
      try layout(of: index, transport, agreed, options)
    }
    let rings: DMAArena
    let memory: DMAArena
    do {
      let bounce =
        options.bounceBlocks * max(Limits.bounceBlockBytes, agreed.limits.logicalBlockSize)
      let ringBytes = layouts.reduce(0) { $0 + $1.byteCount + bounce + 64 * 1024 }
      rings = try DMAArena(byteCount: ringBytes, node: function.dma.numaNode, pages: options.pages)
      try rings.attach(to: function.dma)
      memory = try DMAArena(
        byteCount: options.memoryByteCount, node: function.dma.numaNode, pages: options.pages,
        layout: options.layout)
      try memory.attach(to: function.dma)
    } catch {
      throw VBlkError(error)
    }
    // A failure from here on must not free memory that the device knows of.
    var isUp = false
    defer {
      if !isUp { try? function.setBusMaster(false) }
      withExtendedLifetime((rings, memory)) {}
    }
    let queues = try layouts.enumerated().map { index, layout throws(VBlkError) in
      try QueueMemory(
        index: index, layout: layout, arena: rings, bounceBlocks: options.bounceBlocks,
        blockSize: agreed.limits.logicalBlockSize)
    }
    let interrupts =
      options.interrupts ? try Interrupts(transport.function, queues: options.queues) : nil
    try connectConfiguration(transport, interrupts)
    for queue in queues { try enable(queue, transport, interrupts) }
    transport.addStatus(.driverOK)
    isUp = true
    report(agreed, function.name, options)
    return Opened(
      info: describe(transport, agreed, available, layouts),
      generation: agreed.config.generation, memory: memory, rings: rings, queues: queues,
      interrupts: interrupts)
  }

  /// Gives the device a queue, with its vector where interrupts are wanted.
  static func enable(
    _ queue: QueueMemory, _ transport: VirtioPCITransport, _ interrupts: Interrupts?
  ) throws(VBlkError) {
    queue.prepare()
    queue.install(
      try transport.enableQueue(
        queue.index, size: queue.layout.size, addresses: queue.addresses,
        vector: interrupts?.vector(ofQueue: queue.index) ?? VirtioPCI.noVector))
  }

  /// Vector 0 for configuration changes, read back (virtio 1.2, 4.1.5.1.2).
  static func connectConfiguration(
    _ transport: VirtioPCITransport, _ interrupts: Interrupts?
  ) throws(VBlkError) {
    let accepted = transport.setConfigVector(
      interrupts?.configVector ?? VirtioPCI.noVector)
    guard accepted || interrupts == nil else {
      throw VBlkError(
        .deviceUnavailable,
        "\(transport.function.name) refused vector 0 for configuration changes",
        remedy: "poll it: open it without interrupts")
    }
  }

  /// Says once what a device offers and can't mean.
  private static func report(_ agreed: Negotiation, _ name: String, _ options: DeviceOptions) {
    if agreed.accepted.contains(.sizeMax), agreed.config.sizeMax == 0 {
      options.logger.notice("\(name) offers size_max 0; taken as no limit")
    }
    if agreed.accepted.contains(.segMax), agreed.config.segMax == 0 {
      options.logger.notice("\(name) offers seg_max 0; taken as one segment")
    }
  }

  private static func layout(
    of index: Int, _ transport: VirtioPCITransport, _ agreed: Negotiation,
    _ options: DeviceOptions
  ) throws(VBlkError) -> QueueLayout {
    let most = transport.maximumQueueSize(index)
    let isPacked = agreed.accepted.contains(.ringPacked)
    guard QueueLayout.isLegal(size: most, isPacked: isPacked) else {
      throw VBlkError(
        .deviceUnavailable,
        "queue \(index) of \(transport.function.name) has size \(most), not "
          + "\(isPacked ? "a number" : "a power of two") from 1 to \(SplitLayout.maximumSize)",
        remedy: "the device is faulty")
    }
    let isIndirect = agreed.accepted.contains(.indirectDescriptors)
    let wanted = min(most, options.depth * (isIndirect ? 1 : 3))
    var size = isPacked ? wanted : 1
    while size < wanted { size *= 2 }
    size = min(size, most)
    guard
      let layout = QueueLayout(
        size: size, isPacked: isPacked, isIndirect: isIndirect,
        isInOrder: agreed.accepted.contains(.inOrder), maxSegments: agreed.limits.maxSegments)
    else {
      throw VBlkError(
        .deviceUnavailable,
        "queue \(index) of \(transport.function.name) has \(most) entries, too few for header, "
          + "data and status without INDIRECT_DESC",
        remedy: "give it at least 4 entries (QEMU: queue-size=128), or INDIRECT_DESC")
    }
    return layout
  }

  private static func describe(
    _ transport: VirtioPCITransport, _ agreed: Negotiation, _ available: Int,
    _ layouts: [QueueLayout]
  ) -> DeviceInfo {
    DeviceInfo(
      name: transport.function.name, capacityBytes: agreed.config.capacity << Sector.shift,
      isReadOnly: agreed.offered.contains(.readOnly), offered: agreed.offered,
      accepted: agreed.accepted, limits: agreed.limits, availableQueues: available,
      hasVolatileCache: agreed.hasVolatileCache, queueSizes: layouts.map(\.size),
      depth: layouts[0].slotCount, numaNode: transport.function.dma.numaNode,
      regions: transport.function.regions)
  }
}
