internal import Synchronization
internal import VBlk

/// Writes a device full by random operations of every kind, reads it back, and compares.
struct VerifyRun {
  /// Where the device holds something else than what was written, or what else was wrong.
  struct Mismatch: Equatable, CustomStringConvertible {
    let description: String
  }

  /// What the watchdog of an emulated disk named.
  final class Breaches: Sendable {
    private let all = Mutex<[String]>([])
    func add(_ breach: DriverBreach) { all.withLock { $0.append(breach.description) } }
    var first: String? { all.withLock { $0.first } }
  }

  /// Operations of a queue: each kind a few times.
  static let steps = 12
  /// DMA memory: twice the most that one operation and the reading back take.
  static let memoryByteCount = 2 << 20
  /// Bytes of a queue's part at most, so that a run is short on large devices.
  static let partByteCountMax: UInt64 = 256 << 10

  let device: Device
  private let breaches = Breaches()
  private var random: SplitMix

  /// Opens the device; an emulated one with its watchdog.
  init(_ name: String, seed: UInt64) throws {
    var address = try DeviceAddress(name)
    if case .emulated = address.place {
      var given = address.options
      given.isWatched = true
      address = DeviceAddress(place: address.place, options: given)
    }
    var options = DeviceOptions()
    options.queues = address.options.queues ?? 1
    options.depth = address.options.queueSize ?? options.depth
    options.memoryByteCount = Self.memoryByteCount
    options.pages = .small
    let breaches = breaches
    device = try Device.open(address, options: options) { breaches.add($0) }
    random = SplitMix(seed: seed)
  }

  /// Runs all queues, one after the other, each on its part of the device.
  ///
  /// - Returns: The first mismatch.
  mutating func run() throws -> Mismatch? {
    defer { device.close() }
    let queues = device.info.queueSizes.count
    let block = UInt64(device.info.limits.logicalBlockSize)
    let part = min(
      device.info.capacityBytes / UInt64(queues) / block * block, Self.partByteCountMax)
    for index in 0..<queues {
      var queue = try device.makeQueue()
      var job = VerifyJob(
        device: device, base: UInt64(index) * part, byteCount: Int(part),
        seed: random.next())
      for _ in 0..<Self.steps { try job.step(&queue) }
      if let mismatch = try job.compare(&queue) { return mismatch }
    }
    return breaches.first.map { Mismatch(description: $0) }
  }
}

/// One queue's part of a ``VerifyRun``: what was written stands in a model.
struct VerifyJob {
  let device: Device
  let base: UInt64
  private var model: [UInt8]
  private var random: SplitMix

  init(device: Device, base: UInt64, byteCount: Int, seed: UInt64) {
    self.device = device
    self.base = base
    model = Array(repeating: 0, count: byteCount)
    random = SplitMix(seed: seed)
    isZeroed = false
  }

  /// What was there is not known before the first step.
  private var isZeroed: Bool

  /// One random operation; the model follows.
  mutating func step(_ queue: inout Queue) throws {
    if !isZeroed {
      try write(&queue, 0..<model.count)
      isZeroed = true
      return
    }
    let block = device.info.limits.logicalBlockSize
    switch random.below(6) {
    case 0: try write(&queue, range(multipleOf: block))
    case 1: try write(&queue, range(multipleOf: 1))
    case 2: try writeVectored(&queue, range(multipleOf: 1))
    case 3: try writeMany(&queue, block)
    case 4: try zero(&queue, range(multipleOf: block))
    default:
      if FeatureNames(device.info).accepts("FLUSH") { try queue.flush() }
    }
  }

  /// A range of up to 24 KiB, not empty.
  private mutating func range(multipleOf unit: Int) -> Range<Int> {
    let units = model.count / unit
    let start = Int(random.below(UInt64(units)))
    let most = min(units - start, max(1, 24_576 / unit))
    let count = 1 + Int(random.below(UInt64(most)))
    return start * unit..<(start + count) * unit
  }

  /// Bytes that repeat nowhere near, to be copied from any place; a prime number of them.
  private static let pattern: [UInt8] = {
    var random = SplitMix(seed: 64)
    return (0..<4093).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }()

  /// Puts other bytes into the model.
  private mutating func fill(_ range: Range<Int>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    var place = Int(random.below(UInt64(Self.pattern.count)))
    while bytes.count < range.count {
      let piece = Self.pattern[place...].prefix(range.count - bytes.count)
      bytes += piece
      place = 0
    }
    model.replaceSubrange(range, with: bytes)
    return bytes
  }

  private func buffer(_ bytes: [UInt8]) throws -> DMABuffer {
    var buffer = try device.memory.allocate(byteCount: bytes.count)
    unsafe buffer.withUnsafeMutableBytes { unsafe $0.copyBytes(from: bytes) }
    return buffer
  }

  private mutating func write(_ queue: inout Queue, _ range: Range<Int>) throws {
    let bytes = fill(range)
    let durable = random.below(4) == 0
    let count = try queue.write(
      at: base + UInt64(range.lowerBound), from: try buffer(bytes), durable: durable)
    try require(count == range.count, "a write of \(range.count) bytes wrote \(count)")
  }

  private mutating func writeVectored(_ queue: inout Queue, _ range: Range<Int>) throws {
    let bytes = fill(range)
    var list = SegmentList(segmentCapacity: 16)
    var start = 0
    while start < bytes.count {
      let left = bytes.count - start
      let count = list.count == 15 ? left : min(left, 1 + Int(random.below(6000)))
      list.append(try buffer(Array(bytes[start..<start + count])))
      start += count
    }
    let count = try queue.write(at: base + UInt64(range.lowerBound), from: list)
    try require(count == range.count, "a vectored write of \(range.count) bytes wrote \(count)")
  }

  /// Several writes in flight, of blocks that lie apart.
  private mutating func writeMany(_ queue: inout Queue, _ block: Int) throws {
    let wanted = min(12, device.info.depth, model.count / block)
    let stride = model.count / block / wanted * block
    var accepted = 0
    for index in 0..<wanted {
      let range = index * stride..<index * stride + block * (1 + Int(random.below(2)) % 2)
      guard range.upperBound <= (index + 1) * stride else { continue }
      let kept = Array(model[range])
      let bytes = fill(range)
      switch queue.submitWrite(
        at: base + UInt64(range.lowerBound), from: try buffer(bytes), tag: UInt64(range.count))
      {
      case .queued: accepted += 1
      case .refused(let code, _):
        try require(code == .busy, "a write was refused: \(code)")
        model.replaceSubrange(range, with: kept)
      case .completed: throw Self.failure("a write ended inside submit")
      }
    }
    queue.kick()
    for _ in 0..<accepted {
      guard let done = Self.next(&queue) else { throw Self.failure("a write never ended") }
      try require(done.result.code == nil, "a write ended with \(done.result)")
      try require(done.result.byteCount == Int(done.tag), "a write ended with \(done.result)")
    }
  }

  private static func next(_ queue: inout Queue) -> Completion? {
    for _ in 0..<1_000_000_000 {
      if let done = queue.next() { return done }
    }
    return nil
  }

  private mutating func zero(_ queue: inout Queue, _ range: Range<Int>) throws {
    guard FeatureNames(device.info).accepts("WRITE_ZEROES") else { return }
    try queue.writeZeroes(at: base + UInt64(range.lowerBound), byteCount: UInt64(range.count))
    model.replaceSubrange(range, with: repeatElement(0, count: range.count))
  }

  /// Reads all of it back, in one, and compares.
  mutating func compare(_ queue: inout Queue) throws -> VerifyRun.Mismatch? {
    var whole = try device.memory.allocate(byteCount: model.count)
    let count = try queue.read(at: base, into: &whole)
    try require(count == model.count, "a read of \(model.count) bytes read \(count)")
    let model = model
    let found = unsafe whole.withUnsafeBytes { unsafe [UInt8]($0) }
    let wrong = found == model ? nil : model.indices.first { found[$0] != model[$0] }
    if let wrong {
      return VerifyRun.Mismatch(
        description: "byte \(base + UInt64(wrong)) is not what was written")
    }
    let statistics = queue.statistics
    if statistics.violations + statistics.resets > 0 {
      return VerifyRun.Mismatch(
        description: "\(statistics.violations) violations, \(statistics.resets) resets")
    }
    return nil
  }

  private func require(_ good: Bool, _ what: @autoclosure () -> String) throws {
    if !good { throw Self.failure(what()) }
  }

  private static func failure(_ what: String) -> Failure { Failure(.mismatch, what) }
}
