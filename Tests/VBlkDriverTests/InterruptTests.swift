import CHostIO
import Glibc
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// MSI-X as a wake-up: vectors set, read back, asked for and not asked for.
@Suite("Interrupts", .onEachRing)
struct InterruptTests {
  private func bench(_ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }) throws -> Bench
  {
    try Bench {
      $0.mode = .stepped
      $0.queues = 2
      edit(&$0)
    } options: {
      $0.queues = 2
      $0.interrupts = true
    }
  }

  /// How often the descriptor was signalled since it was last read.
  private func signals(_ descriptor: CInt?) -> UInt64 {
    var count: UInt64 = 0
    guard let descriptor, Glibc.read(descriptor, &count, 8) == 8 else { return 0 }
    return count
  }

  @Test("an armed queue is signalled once, a polled one never", arguments: [true, false])
  func armed(eventIndex: Bool) throws {
    let bench = try bench { if !eventIndex { $0.withheld.insert(.eventIndex) } }
    var queue = try bench.device.makeQueue()
    let descriptor = queue.interruptDescriptor
    for round in 0..<6 {
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
        return
      }
      let wanted = round % 2 == 0
      if wanted {
        let sleeps = queue.armInterrupt()
        #expect(sleeps)
      } else {
        queue.kick()
      }
      for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
      #expect(signals(descriptor) == (wanted ? 1 : 0), "round \(round)")
      if wanted { queue.disarmInterrupt() }
      let done = queue.nextSummary()
      #expect(done?.code == nil && done != nil)
    }
  }

  @Test("row 48: arming finds what completed before it: no sleep, no lost wake-up")
  func completedBefore() throws {
    let bench = try bench()
    var queue = try bench.device.makeQueue()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
      return
    }
    queue.kick()
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    let sleeps = queue.armInterrupt()
    #expect(!sleeps)
    let done = queue.nextSummary()
    #expect(done != nil)
  }

  @Test("each queue has its own vector, the configuration vector 0; few vectors are shared")
  func vectors() throws {
    for count in 1...3 {
      let bench = try bench { $0.interruptVectors = count }
      let one = try bench.device.makeQueue()
      let two = try bench.device.makeQueue()
      let config = bench.device.interrupts?.configDescriptor
      #expect((one.interruptDescriptor == two.interruptDescriptor) == (count < 3))
      #expect((one.interruptDescriptor == config) == (count < 2))
    }
  }

  @Test("a capacity change signals the configuration's descriptor")
  func configuration() throws {
    let bench = try bench()
    let queue = try bench.device.makeQueue()
    try bench.disk.setCapacity(sectors: 64)
    #expect(signals(bench.device.interrupts?.configDescriptor) == 1)
    #expect(signals(queue.interruptDescriptor) == 0)
  }

  @Test("vectors are set again after a reset")
  func afterReset() throws {
    let bench = try bench()
    var queue = try bench.device.makeQueue()
    bench.device.reset()
    _ = queue.next()
    guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
      Issue.record("not restarted")
      return
    }
    let sleeps = queue.armInterrupt()
    #expect(sleeps)
    for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
    #expect(signals(queue.interruptDescriptor) == 1)
  }

  @Test("row 39: neither vectors nor a line: refused to be opened with interrupts, by name")
  func neither() throws {
    var script = RecordingFunction.Script()
    script.interruptVectorCount = 0
    script.hasInterruptLine = false
    let (error, function) = try Rig.refusal(script: script, options: { $0.interrupts = true })
    #expect(error?.code == .unsupported)
    #expect(error?.remedy.contains("poll it") == true)
    #expect(function.closes == 1 && function.mapper.mappingCount == 0)
  }

  @Test("INTx: two queues share the line; each finds its own completion, whoever was woken")
  func sharedLine() throws {
    let bench = try bench { $0.interruptVectors = 0 }
    var one = try bench.device.makeQueue()
    var two = try bench.device.makeQueue()
    #expect(one.interruptDescriptor == two.interruptDescriptor)
    for round in 0..<6 {
      for tag in 0..<2 as Range<UInt64> {
        let buffer = try bench.buffer(512)
        let isQueued: Bool
        if tag == 0 {
          if case .queued = one.submitRead(at: 0, into: buffer, tag: 0) {
            isQueued = true
          } else {
            isQueued = false
          }
        } else if case .queued = two.submitRead(at: 0, into: buffer, tag: 1) {
          isQueued = true
        } else {
          isQueued = false
        }
        #expect(isQueued)
      }
      let first = one.armInterrupt()
      let second = two.armInterrupt()
      #expect(first && second)
      let queue = round % 2
      bench.disk.serve(queue: queue)
      #expect(signals(one.interruptDescriptor) == 1)
      one.disarmInterrupt()
      two.disarmInterrupt()
      let early = queue == 0 ? one.nextSummary() : two.nextSummary()
      #expect(early != nil)
      bench.disk.serve(queue: 1 - queue)
      let late = queue == 0 ? two.nextSummary() : one.nextSummary()
      #expect(late != nil)
      // Nobody had asked any more.
      #expect(signals(one.interruptDescriptor) == 0)
    }
  }

  @Test("INTx: the line wakes an armed queue, its cause is read, and it signals again")
  func line() throws {
    let bench = try bench { $0.interruptVectors = 0 }
    var queue = try bench.device.makeQueue()
    let descriptor = queue.interruptDescriptor
    #expect(descriptor == bench.device.configurationDescriptor)
    for round in 0..<5 {
      guard case .queued = queue.submitRead(at: 0, into: try bench.buffer(512), tag: 1) else {
        return
      }
      let sleeps = queue.armInterrupt()
      #expect(sleeps)
      for handle in bench.disk.fetchAll() { try bench.disk.complete(handle) }
      #expect(signals(descriptor) == 1, "round \(round)")
      queue.disarmInterrupt()
      let done = queue.nextSummary()
      #expect(done?.code == nil && done != nil)
      // A configuration change comes by the same line, and once until its cause is read.
      try bench.disk.setCapacity(sectors: UInt64(64 + 8 * round))
      try bench.disk.setCapacity(sectors: UInt64(1000 + 8 * round))
      #expect(signals(descriptor) == 1, "round \(round)")
      bench.device.lookForChanges()
      #expect(bench.device.capacityBytes == UInt64(1000 + 8 * round) * 512)
      #expect(signals(descriptor) == 0)
    }
  }
}
