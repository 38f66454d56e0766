import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// SUSPEND: row 32 of the driver checklist (virtio 1.4, 2.1.2).
@Suite("Driver rules: suspension", .onEachRing)
struct SuspensionTests {
  private func rig(
    script: RecordingFunction.Script = RecordingFunction.Script(),
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws -> Rig {
    try Rig(
      script: script,
      disk: {
        $0.extra.insert(.suspend)
        $0.mode = .stepped
      }, options: edit)
  }

  @Test("row 32: the bit is set and read back; then no register is written until DRIVER_OK")
  func trace() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    rig.function.clear()
    try rig.device.suspend()
    #expect(
      rig.function.events == [.load(.status, 0xF), .store(.status, 0x1F), .load(.status, 0x1B)])
    #expect(rig.device.isSuspended)
    rig.function.clear()
    for tag in 0..<3 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
    queue.kick()
    let none = queue.take(5000)
    #expect(none == nil)
    rig.device.lookForChanges()
    #expect(
      !rig.function.events.contains {
        if case .store = $0 { return true }
        return false
      })
    #expect(rig.disk.available(queue: 0) == 0)
    rig.function.clear()
    try rig.device.resume()
    #expect(
      rig.function.events == [.load(.status, 0x1B), .store(.status, 0x1F), .load(.status, 0xF)])
    queue.kick()
    #expect(rig.disk.available(queue: 0) == 3, "what was held back is shown")
    rig.disk.serve(queue: 0)
    let ended = queue.takeAll(3)
    #expect(ended == (0..<3).map { Ended(tag: $0, bytes: 4096) })
    #expect(rig.disk.violations.isEmpty, "\(rig.disk.violations)")
  }

  @Test("row 32: what is in flight stays so, and what was done can be taken")
  func inFlight() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    for tag in 0..<4 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
    queue.kick()
    rig.disk.serve(queue: 0, max: 2)
    try rig.device.suspend()
    let before = queue.takeAll(4, 5000)
    #expect(before == [Ended(tag: 0, bytes: 4096), Ended(tag: 1, bytes: 4096)])
    rig.disk.serve(queue: 0)
    let none = queue.take(5000)
    #expect(none == nil, "a suspended device uses nothing")
    try rig.device.resume()
    rig.disk.serve(queue: 0)
    let after = queue.takeAll(2)
    #expect(after == [Ended(tag: 2, bytes: 4096), Ended(tag: 3, bytes: 4096)])
    let atRest = queue.isAtRest
    #expect(atRest)
  }

  @Test("row 32: deadlines stand still meanwhile")
  func deadlines() throws {
    let rig = try rig { $0.deadlineNanoseconds = 30_000_000 }
    var queue = try rig.device.makeQueue()
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    _ = queue.take(2000)
    try rig.device.suspend()
    let start = rig.device.now()
    while rig.device.now() - start < 100_000_000 { _ = queue.take(2000) }
    #expect(queue.statistics.resets == 0)
    try rig.device.resume()
    rig.disk.serve(queue: 0)
    let ended = queue.take()
    #expect(ended == Ended(tag: 1, bytes: 4096))
  }

  @Test("row 32: a synchronous call is refused by name, as is a second suspension")
  func refusals() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    do throws(VBlkError) { try rig.device.resume() } catch {
      #expect(error.code == .invalidArgument)
    }
    try rig.device.suspend()
    do throws(VBlkError) { try rig.device.suspend() } catch { #expect(error.code == .suspended) }
    var buffer = try rig.buffer()
    do throws(VBlkError) {
      try queue.read(at: 0, into: &buffer)
      Issue.record("read")
    } catch {
      #expect(error.code == .suspended && error.remedy.contains("resume"))
    }
    let plain = try Rig()
    do throws(VBlkError) {
      try plain.device.suspend()
      Issue.record("suspended")
    } catch {
      #expect(error.code == .unsupported && error.cause.contains("virtio 1.4"))
    }
  }

  @Test("row 32: a device that does not obey is reset, and works")
  func disobedient() throws {
    var script = RecordingFunction.Script()
    script.store = { register, value in register == .status && value & 16 != 0 ? nil : value }
    let rig = try rig(script: script)
    var queue = try rig.device.makeQueue()
    _ = try queue.queueRead(rig, tag: 1)
    queue.kick()
    do throws(VBlkError) {
      try rig.device.suspend()
      Issue.record("suspended")
    } catch {
      #expect(error.code == .deviceUnavailable && error.cause.contains("2.1.2"))
    }
    let ended = queue.take()
    #expect(ended == Ended(tag: 1, code: .reset))
    _ = try queue.queueRead(rig, tag: 2)
    queue.kick()
    rig.disk.serve(queue: 0)
    let done = queue.take()
    #expect(done == Ended(tag: 2, bytes: 4096))
  }

  @Test("row 32: a reset or a close ends a suspension; each operation ends once")
  func resetWhileSuspended() throws {
    for closes in [true, false] {
      let rig = try rig()
      var queue = try rig.device.makeQueue()
      _ = try queue.queueRead(rig, tag: 1)
      queue.kick()
      try rig.device.suspend()
      _ = try queue.queueRead(rig, tag: 2)
      if closes { rig.device.close() } else { rig.device.reset() }
      let ended = queue.takeAll(2).sorted { $0.tag < $1.tag }
      let code: VBlkError.Code = closes ? .closed : .reset
      #expect(ended == [Ended(tag: 1, code: code), Ended(tag: 2, code: code)])
      #expect(!rig.device.isSuspended)
      guard !closes else { continue }
      _ = try queue.queueRead(rig, tag: 3)
      queue.kick()
      rig.disk.serve(queue: 0)
      let done = queue.take()
      #expect(done == Ended(tag: 3, bytes: 4096))
    }
  }

  @Test("row 32: a capacity that changes meanwhile is told after it")
  func resized() throws {
    let rig = try rig()
    var queue = try rig.device.makeQueue()
    try rig.device.suspend()
    try rig.disk.setCapacity(sectors: 64)
    try rig.device.resume()
    rig.device.lookForChanges()
    #expect(rig.device.capacityBytes == 64 * 512)
    _ = queue.next()
  }
}
