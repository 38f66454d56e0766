import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What other drivers did when something failed, as tests: P21-P32 of facts/peers.md, b.
@Suite("Defects of peers: memory, errors, ways out")
struct PeerErrorTests {
  @Test("P21 each run of a scattered buffer is a segment of its own, and the data is right")
  func p21() throws {
    let rig = try Rig(options: { $0.layout = .scattered(runByteCount: 4096, seed: 3) })
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer(65536)
    buffer.withUnsafeMutableBytes { bytes in
      for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index / 512) }
    }
    try queue.write(at: 0, from: buffer)
    rig.disk.setTracing(true)
    var back = try rig.buffer(65536)
    try queue.read(at: 0, into: &back)
    #expect(back.contents == buffer.contents)
    let trace = rig.disk.trace
    #expect(trace.count >= 16 && trace.allSatisfy { $0.byteCount <= 4096 })
    #expect(trace.reduce(0) { $0 + $1.byteCount } == 65536)
    let base = back.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    var offset = 0
    for segment in trace {
      let memory = rig.function.mapper.host(segment.deviceAddress)
      #expect(memory.map { UInt(bitPattern: $0) } == base + UInt(offset), "at \(offset)")
      offset += segment.byteCount
    }
    #expect(queue.statistics.bouncedBytes == 0)
  }

  @Test("P22 memory that the device has not mapped is refused, and nothing is shown to it")
  func p22() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    let foreign = try Rig()
    var codes: [VBlkError.Code?] = []
    for write in [false, true] {
      var list = SegmentList(segmentCapacity: 2)
      list.append(try rig.buffer(512))
      list.append(try foreign.buffer(512))
      let buffer = try foreign.buffer()
      let submission =
        write
        ? queue.submitWrite(at: 0, from: buffer, tag: 1)
        : queue.submitRead(at: 0, into: buffer, tag: 1)
      if case .refused(let code, _) = submission { codes.append(code) } else { codes.append(nil) }
      let vectored =
        write
        ? queue.submitWrite(at: 0, from: list, tag: 1)
        : queue.submitRead(at: 0, into: list, tag: 1)
      if case .refused(let code, _) = vectored { codes.append(code) } else { codes.append(nil) }
    }
    #expect(codes == [.foreignMemory, .foreignMemory, .foreignMemory, .foreignMemory])
    #expect(queue.error(for: .foreignMemory).cause.contains("not mapped"))
    queue.kick()
    #expect(queue.statistics.requests == 0)
    let atRest = queue.isAtRest
    #expect(atRest)
    #expect(rig.disk.dmaFaults.isEmpty)
  }

  @Test("P23 a bad range is refused with offset, length, block size and capacity")
  func p23() throws {
    let rig = try Rig(disk: { $0.blockSize = 4096 })
    var queue = try rig.device.makeQueue()
    #expect(queue.submitDiscard(at: 512, byteCount: 4096, tag: 1) == .refused(.invalidArgument))
    let unaligned = queue.error(for: .invalidArgument)
    for value in ["4096 bytes", "byte 512", "4096-byte blocks"] {
      #expect(unaligned.cause.contains(value), "\(unaligned.cause)")
    }
    #expect(unaligned.remedy.contains("1048576"))
    var code: VBlkError.Code?
    if case .refused(let seen, _) = queue.submitWrite(
      at: 1_044_480, from: try rig.buffer(8192), tag: 1)
    {
      code = seen
    }
    #expect(code == .noSpace)
    let beyond = queue.error(for: .noSpace)
    #expect(beyond.cause.contains("8192 bytes at byte 1044480"), "\(beyond.cause)")
    #expect(beyond.remedy.contains("1048576"))
    #expect(queue.statistics.requests == 0)
  }

  @Test("P25 an error is that error whatever length comes with it; UNSUPP and IOERR differ")
  func p25() throws {
    for (status, code) in [(1, .ioError), (2, .unsupported)] as [(UInt8, VBlkError.Code)] {
      for length in [0, 1, 4097] as [UInt32] {
        let (rig, _) = try Gate.rig()
        var queue = try rig.device.makeQueue()
        let ring = RingView(queue, rig.function)
        _ = try queue.queueRead(rig, tag: 1)
        queue.kick()
        let chain = ring.chain(ring.availEntry(0))
        ring.writeStatus(chain, status)
        ring.pushUsed(UInt32(chain.head), length)
        let ended = queue.take()
        #expect(ended == Ended(tag: 1, code: code))
      }
    }
  }

  @Test("P25 UNSUPP turns the operation off")
  func unsupportedTurnsOff() throws {
    let rig = try Rig()
    rig.disk.setFaults([FaultRule(.status(2), operations: [.discard])])
    var queue = try rig.device.makeQueue()
    #expect(throws: VBlkError.self) { try queue.discard(at: 0, byteCount: 4096) }
    let sent = queue.statistics.requests
    let again = queue.submitDiscard(at: 0, byteCount: 4096, tag: 1)
    #expect(again == .refused(.unsupported))
    queue.kick()
    #expect(queue.statistics.requests == sent)
  }

  @Test("P25 a vectored read fills every segment")
  func vectoredRead() throws {
    let rig = try Rig()
    var queue = try rig.device.makeQueue()
    try queue.write(at: 0, from: try rig.buffer(8192, fill: 0x77))
    var list = SegmentList(segmentCapacity: 4)
    for count in [512, 3584, 1024, 3072] { list.append(try rig.buffer(count)) }
    let count = try queue.read(at: 0, into: &list)
    #expect(count == 8192)
    for index in 0..<list.bufferCount {
      let block = list.storage.buffer(at: index)
      let bytes = UnsafeRawBufferPointer(start: block.base, count: block.byteCount)
      #expect(bytes.allSatisfy { $0 == 0x77 }, "segment \(index)")
    }
  }

  @Test("P28, T69 a failure at each step of opening: a typed error, closed once, nothing mapped")
  func p28() throws {
    var steps = 0
    for step in 0..<500 {
      var script = RecordingFunction.Script()
      script.callsBeforeFailure = step
      let (error, function) = try Rig.refusal(
        script: script, disk: { $0.queues = 3 }, options: { $0.queues = 3 })
      // Also after a success: the device has gone with the last reference.
      #expect(function.closes == 1, "step \(step)")
      #expect(function.mapper.mappingCount == 0, "step \(step)")
      guard let error else {
        steps = step
        break
      }
      #expect(error.cause.contains("injected"), "step \(step): \(error)")
      #expect([.system, .deviceUnavailable].contains(error.code))
      let events = function.events.registers
      #expect(events.isEmpty || (events.stores(.status).last ?? 0) & 0x80 != 0, "step \(step)")
      let again = try Device(RecordingFunction(function.inner), options: DeviceOptions())
      #expect(again.info.capacityBytes == 1 << 20, "the function can be opened after step \(step)")
    }
    #expect(steps > 20, "every configuration read, bus master and map was a step: \(steps)")
  }

  @Test("P32 a silent device: a synchronous call ends at its deadline")
  func synchronousDeadline() throws {
    let rig = try Rig(options: { $0.deadlineNanoseconds = 40_000_000 })
    rig.disk.setFaults([FaultRule(.drop, count: 1)])
    var queue = try rig.device.makeQueue()
    var buffer = try rig.buffer()
    var code: VBlkError.Code?
    do throws(VBlkError) { try queue.read(at: 0, into: &buffer) } catch { code = error.code }
    #expect(code == .timedOut)
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("P32 closing with I/O outstanding ends each operation once, in bounded time")
  func closeWithWork() throws {
    for closesDevice in [true, false] {
      let rig = try Rig(
        disk: { $0.mode = .stepped }, options: { $0.deadlineNanoseconds = 40_000_000 })
      var queue = try rig.device.makeQueue()
      for tag in 0..<5 as Range<UInt64> { _ = try queue.queueRead(rig, tag: tag) }
      queue.kick()
      let start = ContinuousClock.now
      if closesDevice { rig.device.close() } else { queue.close() }
      let ended = queue.takeAll(6, 5000)
      #expect(ContinuousClock.now - start < .seconds(5))
      #expect(ended.map(\.tag) == [0, 1, 2, 3, 4])
      let codes = Set(ended.map(\.result.code))
      #expect(codes.isSubset(of: closesDevice ? [.closed] : [.timedOut, .reset]), "\(codes)")
      var refused: VBlkError.Code?
      if case .refused(let code, _) = queue.submitRead(at: 0, into: try rig.buffer(), tag: 9) {
        refused = code
      }
      #expect(refused == .closed)
    }
  }
}
