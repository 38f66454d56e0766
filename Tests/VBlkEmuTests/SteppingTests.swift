import Testing
import VBlkEmu
import Virtio

/// Stepped mode: each step is its own call, and nothing happens in between.
@Suite("stepped") struct SteppingTests {
  let driver: MiniDriver
  let disk: EmulatedDisk

  init() throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.mode = .stepped
    configuration.queues = 2
    driver = try MiniDriver(configuration)
    disk = driver.disk
    driver.start(queues: 2, size: 32)
  }

  @Test("one request, step by step") func steps() throws {
    #expect(disk.kickedQueues == [0, 1])
    _ = disk.serve(queue: 0)
    _ = disk.serve(queue: 1)
    let target = driver.address(driver.allocate(512))
    driver.fill(target, Array(repeating: 5, count: 512))
    let request = driver.request(.read, 3, [.into(target, 512)])
    let head = driver.chain(request.pieces)
    driver.submit(head)
    #expect(disk.kickedQueues == [0])
    #expect(disk.pendingQueues == [0])
    #expect(driver.usedIndex() == 0)
    let handle = try #require(disk.fetch(queue: 0))
    #expect(disk.pendingQueues.isEmpty)
    let description = try disk.describe(handle)
    #expect(description.type == 0 && description.sector == 3 && description.byteCount == 512)
    #expect(description.head == head)
    #expect(driver.bytes(target, 1) == [5])
    try disk.transfer(handle)
    #expect(driver.bytes(target, 1) == [0])
    #expect(driver.bytes(request.status, 1) == [0xFF])
    try disk.writeStatus(handle)
    #expect(driver.bytes(request.status, 1) == [0])
    #expect(driver.usedIndex() == 0)
    try disk.pushUsed(handle, publishing: false)
    #expect(driver.usedIndex() == 0)
    disk.publishUsed(queue: 0)
    #expect(driver.usedIndex() == 1)
    #expect(disk.counters(queue: 0).notifications == 0)
    disk.notifyDriver(queue: 0)
    #expect(disk.counters(queue: 0).notifications == 1)
    #expect(driver.used()?.length == 513)
  }

  @Test("any order, or never; steps out of turn are refused") func order() throws {
    let requests = (0..<4).map { _ in driver.request(.flush, 0, []) }
    let heads = requests.map { driver.chain($0.pieces) }
    for head in heads { driver.push(head) }
    driver.publish()
    let handles = (0..<4).compactMap { _ in disk.fetch(queue: 0) }
    #expect(handles.count == 4)
    #expect(disk.fetch(queue: 0) == nil)
    #expect(throws: EmulatorError.self) { try disk.writeStatus(handles[0]) }
    #expect(throws: EmulatorError.self) { try disk.pushUsed(handles[0]) }
    for index in [2, 0, 3] { try disk.complete(handles[index]) }
    #expect(
      (0..<3).map { _ in driver.used()?.id } == [heads[2], heads[0], heads[3]].map { UInt32($0) })
    #expect(driver.used() == nil)
    let error = #expect(throws: EmulatorError.self) { try disk.complete(handles[2]) }
    #expect(error?.code == .staleRequest)
    driver.status = []
    let stale = #expect(throws: EmulatorError.self) { try disk.transfer(handles[1]) }
    #expect(stale?.code == .staleRequest)
    #expect(driver.bytes(requests[1].status, 1) == [0xFF])
  }

  @Test("row 27: what changes after the fetch is not seen") func copiedOnce() throws {
    let target = driver.address(driver.allocate(1024))
    let request = driver.request(.read, 3, [.into(target, 512)])
    let head = driver.table(request.pieces)
    driver.submit(head)
    let handle = try #require(disk.fetch(queue: 0))
    driver.store(driver.offset(request.pieces[0].address), UInt32(1))
    driver.store(driver.offset(request.pieces[0].address) + 8, UInt64.max)
    driver.writeDescriptor(at: driver.rings[0].descriptors + 16 * Int(head), 0, 0, 0xFFFF, 0xFFFF)
    try disk.complete(handle)
    #expect(driver.used()?.length == 513)
    #expect(driver.bytes(request.status, 1) == [0])
    #expect(disk.violations.isEmpty)
  }

  @Test("row 24: one capacity a request: shrunk before the transfer, it fails whole") func shrunk()
    throws
  {
    let request = driver.request(.write, 2047, [.out(driver.address(driver.allocate(512)), 512)])
    driver.submit(driver.chain(request.pieces))
    let handle = try #require(disk.fetch(queue: 0))
    try disk.setCapacity(sectors: 1024)
    try disk.complete(handle)
    #expect(driver.bytes(request.status, 1) == [1])
  }

  @Test("data unmapped between fetch and transfer is a fault") func unmappedBetween() throws {
    let memory = MiniDriver.map(4096)
    try driver.function.dma.map(memory, byteCount: 4096, deviceAddress: 0x2_0000_0000)
    let request = driver.request(.read, 0, [.into(0x2_0000_0000, 512)])
    driver.submit(driver.chain(request.pieces))
    let handle = try #require(disk.fetch(queue: 0))
    try driver.function.dma.unmap(deviceAddress: 0x2_0000_0000, byteCount: 4096)
    try disk.complete(handle)
    #expect(driver.bytes(request.status, 1) == [1])
    #expect(disk.dmaFaults.count == 1)
  }

  @Test("a chain that can't be answered goes back with length 0, stepped too") func unanswerable()
    throws
  {
    let request = driver.parts(4, 0)
    driver.submit(driver.chain([.out(request.header, 16)]))
    let handle = try #require(disk.fetch(queue: 0))
    try disk.transfer(handle)
    try disk.writeStatus(handle)
    try disk.pushUsed(handle)
    #expect(driver.used()?.length == 0)
    #expect(disk.violations.map(\.reason) == [.statusMissing])
  }

  @Test("a queue that doesn't exist is a trap") func noQueue() async {
    await #expect(processExitsWith: .failure) {
      let disk = try EmulatedDisk(.init(.null(byteCount: 512)))
      _ = disk.counters(queue: 1)
    }
  }

  @Test("serve takes as many as it is told") func serve() {
    for _ in 0..<5 { driver.push(driver.chain(driver.request(.flush, 0, []).pieces)) }
    driver.publish()
    #expect(disk.serve(queue: 0, max: 2) == 2)
    #expect(driver.usedIndex() == 2)
    #expect(disk.available(queue: 0) == 3)
    #expect(disk.serve(queue: 0) == 3)
    #expect(disk.serve(queue: 0) == 0)
  }

  @Test("a kick is wanted only if the fetch asks") func wantKicks() {
    driver.push(driver.chain(driver.request(.flush, 0, []).pieces))
    driver.push(driver.chain(driver.request(.flush, 0, []).pieces))
    driver.publish()
    _ = disk.fetch(queue: 0, wantKicks: false)
    #expect(driver.availableEvent() == 0)
    _ = disk.fetch(queue: 0)
    #expect(driver.availableEvent() == 2)
  }
}
