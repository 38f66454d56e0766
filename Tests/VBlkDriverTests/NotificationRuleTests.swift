import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Rows 57 and 61 of the driver checklist.
@Suite("Driver rules: notifications and ranges", .onEachRing)
struct NotificationRuleTests {
  @Test("row 57: a notification is the queue's index, 16 bits, at the queue's own address")
  func doorbells() throws {
    let rig = try Rig(disk: { $0.queues = 3 }, options: { $0.queues = 3 })
    var first = try rig.device.makeQueue()
    var second = try rig.device.makeQueue()
    var third = try rig.device.makeQueue()
    let indexes = [first.index, second.index, third.index]
    let rungLast = try rung(&third, rig)
    let rungFirst = try rung(&first, rig)
    let rungSecond = try rung(&second, rig)
    #expect([rungFirst, rungSecond, rungLast] == indexes.map { [$0] })
    #expect(indexes.sorted() == [0, 1, 2])
  }

  /// The queues whose doorbells a working queue rings; -1 for a doorbell with another value.
  private func rung(_ queue: inout Queue, _ rig: Rig) throws -> Set<Int> {
    rig.function.clear()
    let works = try queue.works(rig)
    #expect(works)
    let stores = rig.function.events.compactMap(\.stored).filter { $0.register.isDoorbell }
    return Set(
      stores.map { store in
        let index = Int(store.value)
        return store.register == .doorbell(index) ? index : -1
      })
  }

  @Test("row 61: a range request of which a part failed has no partial result")
  func rangeFails() throws {
    let rig = try Rig(disk: {
      $0.maxDiscardSectors = 64
      $0.maxDiscardSegments = 1
      $0.faults = [FaultRule(.status(1), operations: [.discard], skip: 1)]
    })
    var queue = try rig.device.makeQueue()
    _ = queue.submitDiscard(at: 0, byteCount: 1 << 17, tag: 9)
    let ended = queue.take()
    #expect(ended?.tag == 9)
    #expect(ended?.result == IOResult(byteCount: 0, code: .ioError))
    let atRest = queue.isAtRest
    #expect(atRest)
  }
}
