import VBlkDriver
import VBlkEmu

/// The user's side: a stack of buffers, random offsets, a checksum over tags.
struct Client: ~Copyable {
  let device: Device
  let buffers: UnsafeMutablePointer<DMABuffer>
  var count = 0
  var random: UInt64 = 88_172_645_463_325_252
  var checksum: UInt64 = 0
  static let places: UInt64 = 1 << 13

  /// A device of `format`, with a stack of buffers of `byteCount` bytes; in requests
  /// of 4 KiB where `cuts` is set.
  static func make(
    format: String, byteCount: Int = 4096, count: Int = Probe.depth, cuts: Bool = false
  ) throws -> Client {
    var configuration = EmulatedDisk.Configuration(.null(byteCount: 256 << 20))
    if format.hasSuffix("-direct") { configuration.withheld = [.indirectDescriptors] }
    if format.hasPrefix("packed-") { configuration.extra = [.ringPacked] }
    if cuts {
      configuration.segMax = 1
      configuration.sizeMax = 4096
    }
    var options = DeviceOptions()
    options.depth = 64
    let device = try Device(try EmulatedDisk(configuration).function, options: options)
    var client = Client(device: device, buffers: .allocate(capacity: count))
    for _ in 0..<count { client.push(try device.memory.allocate(byteCount: byteCount)) }
    return client
  }

  private init(device: Device, buffers: UnsafeMutablePointer<DMABuffer>) {
    self.device = device
    self.buffers = buffers
  }

  @inline(__always)
  mutating func push(_ buffer: consuming DMABuffer) {
    (buffers + count).initialize(to: buffer)
    count &+= 1
  }

  @inline(__always)
  mutating func pop() -> DMABuffer {
    count &-= 1
    return (buffers + count).move()
  }

  /// Keeps a buffer that was not queued; false then.
  @inline(__always)
  mutating func accept(_ submission: consuming Submission<DMABuffer>) -> Bool {
    switch consume submission {
    case .queued: return true
    case .completed(_, let buffer):
      push(buffer)
      return false
    case .refused(_, let buffer):
      push(buffer)
      return false
    }
  }

  @inline(__always)
  mutating func take(_ done: consuming Completion) {
    checksum &+= done.tag &+ UInt64(truncatingIfNeeded: done.result.byteCount)
    if let buffer = done.buffer.take() { push(buffer) }
  }

  @inline(__always)
  mutating func nextOffset() -> UInt64 {
    random ^= random &<< 13
    random ^= random &>> 7
    random ^= random &<< 17
    return (random & (Client.places &- 1)) &<< 15
  }
}

/// A queue that does nothing but hand buffers back.
struct StubQueue: ~Copyable {
  let held: UnsafeMutablePointer<DMABuffer>
  let tags: UnsafeMutablePointer<UInt64>
  var count = 0

  init(depth: Int) {
    held = .allocate(capacity: depth)
    tags = .allocate(capacity: depth)
  }
}

@inline(never)
func submitStub(_ queue: inout StubQueue, _ client: inout Client) {
  while client.count > 0 {
    let offset = client.nextOffset()
    (queue.held + queue.count).initialize(to: client.pop())
    queue.tags[queue.count] = offset
    queue.count &+= 1
  }
}

@inline(never)
func pollStub(_ queue: inout StubQueue, _ client: inout Client) {
  while queue.count > 0 {
    queue.count &-= 1
    client.checksum &+= queue.tags[queue.count] &+ 4096
    client.push((queue.held + queue.count).move())
  }
}
