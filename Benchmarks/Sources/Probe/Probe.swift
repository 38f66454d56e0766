import VBlkDriver
import VBlkEmu

/// What `instructions.sh` counts: 4 KiB reads in batches of 32 on the inline emulator, each phase
/// in a function of its own, so that callgrind tells them apart.
///
/// Usage: Probe FORMAT BATCHES, with FORMAT split-direct, split-indirect, packed-direct,
/// packed-indirect, or stub (the client's own share: the same loop on a queue that does nothing).
@main
struct Probe {
  static let depth = 32

  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 3, let batches = Int(arguments[2]) else {
      fatalError(
        "usage: Probe split-direct|split-indirect|packed-direct|packed-indirect|stub BATCHES")
    }
    var client = try Client.make(format: arguments[1])
    if arguments[1] == "stub" {
      var stub = StubQueue(depth: depth)
      for _ in 0..<batches {
        submitStub(&stub, &client)
        pollStub(&stub, &client)
      }
    } else {
      var queue = try client.device.makeQueue()
      for _ in 0..<batches {
        submitBatch(&queue, &client)
        kickBatch(&queue)
        pollBatch(&queue, &client)
      }
      let counted = queue.statistics
      guard counted.requests == UInt64(batches * depth), counted.bytes == counted.requests * 4096
      else { fatalError("the queue counted \(counted)") }
    }
    guard client.count == depth else { fatalError("\(client.count) buffers came back") }
    print("checksum \(client.checksum)")
  }
}

/// The user's side: a stack of buffers, random offsets, a checksum over tags.
struct Client: ~Copyable {
  let device: Device
  let buffers: UnsafeMutablePointer<DMABuffer>
  var count = 0
  var random: UInt64 = 88_172_645_463_325_252
  var checksum: UInt64 = 0
  static let blocks: UInt64 = 1 << 16

  static func make(format: String) throws -> Client {
    var configuration = EmulatedDisk.Configuration(.null(byteCount: 256 << 20))
    if format.hasSuffix("-direct") { configuration.withheld = [.indirectDescriptors] }
    if format.hasPrefix("packed-") { configuration.extra = [.ringPacked] }
    var options = DeviceOptions()
    options.depth = 64
    let device = try Device(try EmulatedDisk(configuration).function, options: options)
    var client = Client(device: device, buffers: .allocate(capacity: Probe.depth))
    for _ in 0..<Probe.depth { client.push(try device.memory.allocate(byteCount: 4096)) }
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

  @inline(__always)
  mutating func nextOffset() -> UInt64 {
    random ^= random &<< 13
    random ^= random &>> 7
    random ^= random &<< 17
    return (random & (Client.blocks &- 1)) &<< 12
  }
}

@inline(never)
func submitBatch(_ queue: inout Queue, _ client: inout Client) {
  while client.count > 0 {
    let offset = client.nextOffset()
    switch queue.submitRead(at: offset, into: client.pop(), tag: offset) {
    case .queued: break
    case .completed(_, let buffer):
      client.push(buffer)
      return
    case .refused(_, let buffer):
      client.push(buffer)
      return
    }
  }
}

@inline(never)
func kickBatch(_ queue: inout Queue) { queue.kick() }

@inline(never)
func pollBatch(_ queue: inout Queue, _ client: inout Client) {
  _ = queue.poll(max: Probe.depth) { done in
    client.checksum &+= done.tag &+ UInt64(truncatingIfNeeded: done.result.byteCount)
    if let buffer = done.buffer { client.push(buffer) }
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
