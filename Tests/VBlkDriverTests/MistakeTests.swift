import Glibc
import Testing
import VBlkEmu

@testable import VBlkDriver

/// A programmer's mistake that the compiler can't see ends the process, and says what it was.
@Suite("Mistakes trap")
struct MistakeTests {
  /// Expects that the process said why. A release build prints no message.
  private func expect(
    _ message: String, _ result: ExitTest.Result?,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #if DEBUG
      guard let result else { return }
      let text = String(decoding: result.standardErrorContent, as: UTF8.self)
      #expect(text.contains(message), "\(text)", sourceLocation: sourceLocation)
    #endif
  }

  @Test("opened without queues, without depth, without bounce blocks")
  func open() async {
    expect(
      "at least one queue",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) { _ = try Bench(options: { $0.queues = 0 }) })
    expect(
      "a depth of at least 1",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) { _ = try Bench(options: { $0.depth = 0 }) })
    expect(
      "at least one bounce block",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        _ = try Bench(options: { $0.bounceBlocks = 0 })
      })
  }

  @Test("an interrupt asked for on a device that was opened without")
  func interrupts() async {
    expect(
      "opened without interrupts",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        var queue = try Bench().device.makeQueue()
        _ = queue.armInterrupt()
      })
  }

  @Test("a segment list without room, overfilled, or with a segment outside its buffer")
  func segments() async {
    expect(
      "room for at least one segment",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) { _ = SegmentList(segmentCapacity: 0) })
    expect(
      "a segment list of 1 buffers is full",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        let bench = try Bench()
        var list = SegmentList(segmentCapacity: 1)
        list.append(try bench.buffer(512))
        list.append(try bench.buffer(512))
      })
    expect(
      "a segment list of 1 segments is full",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        let bench = try Bench()
        var list = SegmentList(segmentCapacity: 1)
        list.append(try bench.buffer(512))
        list.append(bufferAt: 0, offset: 0, byteCount: 1)
      })
    expect(
      "bytes 1..<513 are not in a buffer of 512",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        let bench = try Bench()
        var list = SegmentList(segmentCapacity: 2)
        list.append(try bench.buffer(512))
        list.append(bufferAt: 0, offset: 1, byteCount: 512)
      })
    expect(
      "no buffer 1 in the list",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        let bench = try Bench()
        var list = SegmentList(segmentCapacity: 2)
        list.append(try bench.buffer(512))
        list.append(bufferAt: 1, offset: 0, byteCount: 1)
      })
  }

  @Test("a port whose depth is no power of two")
  func port() async {
    expect(
      "a port's depth is a power of two",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        let loop = LoopQueue(try Bench().device.makeQueue(), waker: try LoopWaker())
        _ = try loop.shared.makePort(depth: 3)
      })
  }

  @Test("a group without depth, or with parts of no bytes")
  func group() async {
    expect(
      "a group has a depth of at least 1",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        var options = PollGroup.Options()
        options.depth = 0
        _ = PollGroup(home: try Bench().device.makeQueue(), with: [], options: options)
      })
    expect(
      "a part has at least one byte",
      await #expect(
        processExitsWith: .signal(SIGILL), observing: [\.standardErrorContent]
      ) {
        var options = PollGroup.Options()
        options.partByteCount = 0
        _ = PollGroup(home: try Bench().device.makeQueue(), with: [], options: options)
      })
  }
}
