import Testing
import VBlkEmu
import Virtio

/// Fault rules and completion orders.
@Suite("faults") struct FaultTests {
  let driver: MiniDriver

  init() throws {
    driver = try MiniDriver(.init(.memory(byteCount: 1 << 20)))
    driver.start(size: 64)
  }

  func status(_ type: RequestType, _ sector: UInt64 = 0) -> UInt8? {
    let target = driver.address(driver.allocate(512))
    let piece: [Piece] =
      type == .flush ? [] : [type == .read ? .into(target, 512) : .out(target, 512)]
    return driver.perform(type, sector, piece)?.status
  }

  @Test("a status, by operation and sectors") func byRange() {
    driver.disk.setFaults([
      FaultRule(.status(1), operations: [.read], sectors: 8..<16),
      FaultRule(.status(2), operations: [.flush]),
    ])
    #expect(status(.read, 7) == 0)
    #expect(status(.read, 8) == 1)
    #expect(status(.write, 8) == 0)
    #expect(status(.read, 16) == 0)
    #expect(status(.flush) == 2)
    #expect(driver.disk.counters(queue: 0).injectedFaults == 2)
    #expect(driver.disk.counters(queue: 0).failedRequests == 2)
  }

  @Test("the nth, and only so many") func nth() {
    driver.disk.setFaults([FaultRule(.status(1), skip: 2, count: 2)])
    #expect((0..<6).map { _ in status(.read) } == [0, 0, 1, 1, 0, 0])
  }

  @Test("a probability is repeated by its seed") func probability() {
    func run(_ seed: UInt64) -> [UInt8?] {
      driver.disk.setFaults([FaultRule(.status(1), probability: 0.5)], seed: seed)
      return (0..<40).map { _ in status(.read) }
    }
    let first = run(3)
    #expect(first == run(3))
    #expect(first != run(4))
    #expect(first.contains(0) && first.contains(1))
  }

  @Test("held until released, oldest first") func hold() {
    driver.disk.setFaults([FaultRule(.hold, count: 2)])
    let requests = (0..<3).map { _ in driver.request(.flush, 0, []) }
    let heads = requests.map { driver.chain($0.pieces) }
    for head in heads { driver.submit(head) }
    #expect(driver.used()?.id == UInt32(heads[2]))
    #expect(driver.used() == nil)
    #expect(driver.disk.releaseHeld(queue: 0) == 2)
    #expect(driver.used()?.id == UInt32(heads[0]))
    #expect(driver.used()?.id == UInt32(heads[1]))
    #expect(driver.bytes(requests[0].status, 1) == [0])
  }

  @Test("delayed by serves") func delay() {
    driver.disk.setFaults([FaultRule(.delay(serves: 2), count: 1)])
    let head = driver.chain(driver.request(.flush, 0, []).pieces)
    driver.submit(head)
    #expect(driver.usedIndex() == 0)
    driver.submit(driver.chain(driver.request(.flush, 0, []).pieces))
    #expect(driver.usedIndex() == 1)
    driver.submit(driver.chain(driver.request(.flush, 0, []).pieces))
    #expect(driver.usedIndex() == 3)
    driver.disk.setFaults([FaultRule(.delay(serves: 9))])
    driver.submit(driver.chain(driver.request(.flush, 0, []).pieces))
    #expect(driver.usedIndex() == 3)
    #expect(driver.disk.releaseHeld(queue: 0) == 1)
    #expect(driver.usedIndex() == 4)
    #expect(driver.used()?.id != UInt32(head))
    #expect(driver.used()?.id == UInt32(head))
  }

  @Test("dropped is never answered; lost is answered and not done") func dropAndLose() {
    driver.disk.setFaults([FaultRule(.drop, count: 1)])
    #expect(status(.read) == nil)
    #expect(driver.disk.releaseHeld(queue: 0) == 0)
    driver.disk.setFaults([FaultRule(.lose, operations: [.write])])
    #expect(driver.write(Array(repeating: 9, count: 512), sector: 0) == 0)
    #expect(driver.read(sector: 0, 512) == Array(repeating: 0, count: 512))
  }

  @Test("corruption of a read is in memory, of a write in the store") func corrupt() {
    let bytes = RequestTests.pattern(512)
    #expect(driver.write(bytes, sector: 0) == 0)
    driver.disk.setFaults([FaultRule(.corrupt(mask: 0x10))])
    var wanted = bytes
    wanted[0] ^= 0x10
    #expect(driver.read(sector: 0, 512) == wanted)
    driver.disk.setFaults([])
    #expect(driver.read(sector: 0, 512) == bytes)
    driver.disk.setFaults([FaultRule(.corrupt(mask: 0x10))])
    #expect(driver.write(bytes, sector: 1) == 0)
    driver.disk.setFaults([])
    #expect(driver.read(sector: 1, 512) == wanted)
  }

  @Test("completion orders") func orders() {
    func run(_ order: CompletionOrder) -> [UInt32?] {
      driver.disk.setCompletionOrder(order)
      let heads = (0..<8).map { _ in driver.chain(driver.request(.flush, 0, []).pieces) }
      for head in heads { driver.push(head) }
      driver.publish()
      driver.ring()
      let base = UInt32(heads[0])
      return (0..<8).map { _ in driver.used().map { ($0.id &- base) / 2 } }
    }
    let straight: [UInt32?] = (0..<8).map { $0 }
    #expect(run(.inOrder) == straight)
    #expect(run(.reversed) == straight.reversed())
    let shuffled = run(.random(seed: 5))
    #expect(shuffled != straight)
    #expect(Set(shuffled) == Set(straight))
    #expect(driver.disk.violations.isEmpty)
  }
}
