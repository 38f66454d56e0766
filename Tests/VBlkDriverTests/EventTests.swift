import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// The event stream: capacity changes (row 58), DEVICE_NEEDS_RESET (row 19), removal.
@Suite("Device events")
struct EventTests {
  /// The next events of a stream, which are there already or come from another task.
  private func next(_ count: Int, of stream: AsyncStream<DeviceEvent>) async -> [DeviceEvent] {
    var events: [DeviceEvent] = []
    for await event in stream {
      events.append(event)
      if events.count == count { break }
    }
    return events
  }

  @Test("row 58: a new capacity is told once, by whoever looks first, and queues follow")
  func resized() async throws {
    let rig = try Rig(
      disk: { $0.queues = 2 },
      options: { $0.queues = 2 })
    let one = rig.device.events()
    let two = rig.device.events()
    do {
      var queue = try rig.device.makeQueue()
      var other = try rig.device.makeQueue()
      try rig.disk.setCapacity(sectors: 64)
      // Two slow ticks of 10 ms, on each queue.
      let start = rig.device.now()
      while rig.device.now() - start < 60_000_000 {
        for _ in 0..<1100 {
          _ = queue.next()
          _ = other.next()
        }
      }
      #expect(queue.capacity == 64 * 512 && other.capacity == 64 * 512)
      try rig.disk.setCapacity(sectors: 4096)
      rig.device.lookForChanges()
      rig.device.lookForChanges()
      try rig.disk.setCapacity(sectors: 4096)
      rig.device.lookForChanges()
    }
    rig.disk.remove()
    rig.device.lookForChanges()
    let expected: [DeviceEvent] = [
      .resized(byteCount: 64 * 512), .resized(byteCount: 4096 * 512), .removed,
    ]
    // The streams end by themselves.
    #expect(await next(9, of: one) == expected)
    #expect(await next(9, of: two) == expected)
  }

  @Test("row 19: NEEDS_RESET is told, the device is reset and works; told anew the next time")
  func needsReset() async throws {
    let rig = try Rig()
    let stream = rig.device.events()
    for _ in 0..<3 {
      rig.disk.needsReset()
      rig.device.lookForChanges()
      rig.device.lookForChanges()
      var queue = try rig.device.makeQueue()
      let works = try queue.works(rig)
      #expect(works)
    }
    rig.disk.remove()
    rig.device.lookForChanges()
    #expect(
      await next(9, of: stream) == [.needsReset, .needsReset, .needsReset, .removed])
  }

  @Test("an interrupt of the configuration says when to look")
  func interrupt() async throws {
    for vectors in [nil, 0] {
      let rig = try Rig(
        disk: { $0.interruptVectors = vectors },
        options: { $0.interrupts = true })
      let stream = rig.device.events()
      let descriptor = try #require(rig.device.configurationDescriptor)
      #expect(!isReadable(descriptor))
      try rig.disk.setCapacity(sectors: 8)
      #expect(isReadable(descriptor))
      rig.device.lookForChanges()
      #expect(await next(1, of: stream) == [.resized(byteCount: 4096)])
    }
    let polled = try Rig()
    #expect(polled.device.configurationDescriptor == nil)
  }

  @Test("a listener that doesn't listen loses the oldest; one that goes is forgotten")
  func lateListener() async throws {
    let rig = try Rig()
    let stream = rig.device.events()
    do { _ = rig.device.events() }
    for sectors in 1...100 as ClosedRange<UInt64> {
      try rig.disk.setCapacity(sectors: sectors)
      rig.device.lookForChanges()
    }
    rig.disk.remove()
    rig.device.lookForChanges()
    let seen = await next(1000, of: stream)
    #expect(seen.count == 64)
    #expect(seen.last == .removed && seen.dropLast().last == .resized(byteCount: 51200))
  }
}
