import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A test a bug, named by what went wrong; each comment says what found it.
@Suite("Bugs that were")
struct DriverBugTests {
  /// `offset <= capacity - count` wrapped where the device is smaller than the buffer, and the
  /// request reached beyond the end. Found by reading the gate against hostile-device row 22.
  @Test(
    "a buffer larger than the whole device went past the end", arguments: [0, 1, 3] as [UInt64])
  func smallerThanTheBuffer(sectors: UInt64) throws {
    let rig = try Rig(disk: {
      for index in 0..<8 { $0.configOverrides[index] = 0 }
      $0.configOverrides[0] = UInt8(sectors)
    })
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer(4096)
    let count = try queue.read(at: 0, into: &buffer)
    #expect(count == Int(sectors) * 512, "cut at the end")
    #expect(buffer.contents[count...].allSatisfy { $0 == 0xEE }, "nothing beyond it was touched")
    let code: VBlkError.Code?
    if case .refused(let seen, _) = queue.submitWrite(at: 0, from: try rig.buffer(4096), tag: 1) {
      code = seen
    } else {
      code = nil
    }
    #expect(code == .noSpace)
    #expect(rig.disk.counters(queue: 0).failedRequests == 0)
  }

  /// The same gate after the device had shrunk under a queue that was open.
  @Test("a device that shrank below the buffer's size was read past its end")
  func shrank() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    try rig.disk.setCapacity(sectors: 2)
    _ = queue.take(20_000_000 / 100)
    #expect(queue.capacity == 1024)
    var buffer = try rig.buffer(4096)
    let count = try queue.read(at: 0, into: &buffer)
    #expect(count == 1024)
    #expect(rig.disk.counters(queue: 0).failedRequests == 0)
  }

  /// A device that says it wrote less than the 20 bytes of its id made the driver return what the
  /// slot had held before. Found by row 51: only the first used.len bytes are written.
  @Test("a short answer to GET_ID returned the bytes of an older request")
  func shortIdentity() throws {
    let rig = try Rig(disk: { $0.serial = "" })
    var queue = try rig.device.makeQueue()
    rig.disk.misbehave(.usedLengthShort)
    #expect(throws: VBlkError.self) { _ = try queue.identify() }
    rig.disk.misbehave([])
    let identity = try queue.identify()
    #expect(identity.isEmpty)
  }

  /// The generation was remembered after the queues were up, not with the fields that were read: a
  /// capacity that changed in between was never seen. Found by row 29.
  @Test("a capacity that changed during bring-up was never noticed")
  func changedDuringBringUp() throws {
    var script = RecordingFunction.Script()
    let disk = try EmulatedDisk(EmulatedDisk.Configuration(.memory(byteCount: 1 << 20)))
    script.beforeStore = { _, register, value in
      if register == .status, value == 0x0F { try? disk.setCapacity(sectors: 4096) }
    }
    let function = RecordingFunction(disk.function, script: script)
    var options = DeviceOptions()
    options.pages = .small
    let device = try Device(function, options: options)
    #expect(device.info.capacityBytes == 1 << 20)
    var queue = try device.makeQueue()
    _ = queue.take(200_000)
    #expect(queue.capacity == 2 << 20)
  }

  /// max_discard_sectors of less than a logical block was rounded up to one, beyond the device's
  /// limit. Found by row 60.
  @Test("a discard limit of less than a block was exceeded")
  func discardLimitBelowBlock() throws {
    let rig = try Rig(disk: {
      $0.blockSize = 4096
      $0.maxDiscardSectors = 7
      $0.maxWriteZeroesSectors = 7
    })
    #expect(rig.device.info.limits.maxDiscardBytes == 0)
    #expect(rig.device.info.limits.maxWriteZeroesBytes == 0)
    var queue = try rig.device.makeQueue()
    #expect(queue.submitDiscard(at: 0, byteCount: 4096, tag: 1) == .refused(.unsupported))
    #expect(queue.submitWriteZeroes(at: 0, byteCount: 4096, tag: 1) == .refused(.unsupported))
  }

  /// Between the moment when a stop had won and the one when it moved the epoch, all queues still
  /// counted as swept, by the reset before: a queue that went away just then started the device
  /// again, and the stop went on over it. Found by spin: Models/restart.pml.
  @Test("a queue that went away while another thread stopped the device started it again")
  func goneDuringStop() throws {
    let box = QueueBox()
    var script = RecordingFunction.Script()
    script.beforeStore = { _, register, value in
      if register == .status, value == 0 { box.queue = nil }
    }
    let disk = try EmulatedDisk(
      {
        var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
        configuration.queues = 2
        return configuration
      }())
    var options = DeviceOptions()
    options.pages = .small
    options.queues = 2
    let device = try Device(RecordingFunction(disk.function, script: script), options: options)
    var first = try device.makeQueue()
    box.queue = try device.makeQueue()
    device.reset()
    _ = first.take(1)
    var buffer = try device.memory.allocate(byteCount: 512)
    let count = try first.read(at: 0, into: &buffer)
    #expect(count == 512, "the device runs, in the epoch that the queue follows")
    let violations = disk.violations
    #expect(violations.isEmpty)
  }

  /// A queue that was handed out while the device stood still took submissions, which the restart
  /// then forgot. Found by reading rule 10 against makeQueue.
  @Test("a queue handed out during a reset lost what was submitted to it")
  func handedOutDuringReset() throws {
    let rig = try Rig(disk: { $0.queues = 2 }, options: { $0.queues = 2 })
    var first = try rig.device.makeQueue()
    rig.device.reset()
    var second = try rig.device.makeQueue()
    var code: VBlkError.Code?
    if case .refused(let seen, _) = second.submitRead(at: 0, into: try rig.buffer(), tag: 1) {
      code = seen
    }
    #expect(code == .resetting, "the first queue has not swept yet")
    let nothing = first.take(1)
    #expect(nothing == nil)
    let firstWorks = try first.works(rig)
    let secondWorks = try second.works(rig)
    #expect(firstWorks && secondWorks)
    let atRest = second.isAtRest
    #expect(atRest)
  }

  /// The same on a device that never came back: a synchronous read waited for ever.
  @Test("a queue handed out by a dead device waited for ever")
  func handedOutByTheDead() throws {
    let rig = try Rig(disk: { $0.queues = 2 }, options: { $0.queues = 2 })
    rig.disk.misbehave(.resetNeverEnds)
    rig.device.reset()
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer()
    var code: VBlkError.Code?
    do throws(VBlkError) { try queue.read(at: 0, into: &buffer) } catch { code = error.code }
    #expect(code == .removed)
  }

  /// A synchronous call that came first after a reset ended with `reset` though it had shown the
  /// device nothing. Found by the trace of a device's whole life.
  @Test("a synchronous call after a reset failed though nothing was in flight")
  func synchronousAfterReset() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    rig.device.reset()
    let works = try queue.works(rig)
    #expect(works)
  }

  /// A queue that was closed, then swept, was handed out again with the places of before the reset:
  /// the next one waited for a used index that the device would never have.
  @Test("a queue closed before a reset was handed out with its old places", .onEachRing)
  func closedBeforeReset() throws {
    let rig = try Rig(options: { $0.deadlineNanoseconds = 100_000_000 })
    do {
      var queue = try rig.device.makeQueue()
      for _ in 0..<5 { try queue.flush() }
      queue.close()
      rig.device.reset()
      let nothing = queue.take(10)
      #expect(nothing == nil)
    }
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    #expect(queue.statistics.violations == 0 && queue.statistics.resets == 0)
  }

  /// The records of operations were taken from a free list that began at the first record, whatever
  /// order an earlier owner of the queue had freed them in: some were lost, until a submission
  /// trapped. Found by the feature matrix.
  @Test("a queue that was handed out again had lost records of operations", .onEachRing)
  func lostRecords() throws {
    let rig = try Rig(options: { $0.depth = 8 })
    for _ in 0..<12 {
      var queue = try rig.device.makeQueue()
      let depth = rig.device.info.depth
      for tag in 0..<depth {
        _ = queue.submitWrite(
          at: UInt64(tag) * 4096, from: try rig.buffer(), tag: UInt64(tag), durable: true)
      }
      queue.kick()
      let ended = queue.takeAll(depth)
      #expect(ended.count == depth)
    }
  }
}

/// A queue that a script can let go, in the thread that runs the test.
private final class QueueBox: @unchecked Sendable {
  var queue: Queue?
}
