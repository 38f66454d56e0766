import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A group whose other members are driven by hand, in this thread: the home and one loop, on one
/// device or on two.
struct SpreadBench: ~Copyable {
  let disks: [EmulatedDisk]
  let devices: [Device]
  var home: SpreadHome
  var loop: LoopQueue

  /// One or two devices; with one, both queues are its.
  init(
    devices count: Int = 1, bytes: UInt64 = 64 << 10,
    mode: EmulatedDisk.Mode = .inline, partBytes: Int = 512, depth: Int = 8,
    disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws {
    var benches: [Bench] = []
    for _ in 0..<count {
      benches.append(
        try Bench(bytes: bytes) {
          $0.mode = mode
          $0.queues = 3
          change(&$0)
        } options: {
          $0.queues = count == 1 ? 3 : 2
          $0.depth = 16
          edit(&$0)
        })
    }
    if count == 2 { try benches[1].device.attach(benches[0].device.memory) }
    let first = try benches[0].device.makeQueue()
    let other = try benches[count - 1].device.makeQueue()
    let waker = try LoopWaker()
    disks = benches.map(\.disk)
    devices = benches.map(\.device)
    loop = LoopQueue(other, waker: waker)
    var options = PollGroup.Options()
    options.depth = depth
    options.partByteCount = partBytes
    home = PollGroup.makeHome(first, with: [loop.shared], options: options)
  }

  func buffer(_ count: Int, fill: (Int) -> UInt8 = { _ in 0xEE }) throws -> DMABuffer {
    var buffer = try devices[0].memory.allocate(byteCount: count)
    buffer.withUnsafeMutableBytes { bytes in
      for index in bytes.indices { bytes[index] = fill(index) }
    }
    return buffer
  }

  /// Submits, and looks at what has become of it.
  mutating func submit(
    _ operation: VBlkDriver.Operation, at offset: UInt64, _ buffer: consuming DMABuffer,
    tag: UInt64 = 1, durable: Bool = false
  ) -> VBlkDriver.Queue.Admission {
    let block = buffer.intoReference()
    let admission = home.submit(
      operation, at: offset, UInt64(block.byteCount), .buffer(block), tag: tag, durable: durable)
    if case .accepted = admission { return admission }
    _ = DMABuffer(block)
    return admission
  }

  /// Lets home and loop work until a completion comes; nil after a bounded number of rounds.
  mutating func finish(rounds: Int = 20_000) -> Completion? {
    for _ in 0..<rounds {
      home.queue.kick()
      _ = loop.round()
      if let done = home.next() { return done }
    }
    return nil
  }

  /// Nothing is left anywhere.
  var isAtRest: Bool {
    home.queue.isAtRest && loop.queue.isAtRest && home.inFlight == 0 && loop.isQuiet
      && home.queue.state.reservedCount == 0
  }

  mutating func retire() {
    home.retire()
    loop.close()
  }
}
