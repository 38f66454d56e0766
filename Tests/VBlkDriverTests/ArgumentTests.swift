import CHostIO
import Glibc
import Testing
import VBlkEmu

@testable import VBlkDriver

/// What callers do wrong in operation is refused by its name, with nothing done (facts §3.5, T82).
@Suite("Wrong arguments", .onEachRing)
struct ArgumentTests {
  @Test("T82 diotest4: each wrong argument has its refusal, and nothing reaches the device")
  func table() throws {
    let bench = try Bench(bytes: 1 << 20)
    var queue = try bench.device.makeQueue()
    let other = try Bench()
    let cases: [(String, Bool, UInt64, VBlkError.Code)] = [
      ("beyond all offsets", false, .max - 100, .invalidArgument),
      ("a write at the end", true, 1 << 20, .noSpace),
      ("a write over the end", true, 1 << 20 - 512, .noSpace),
    ]
    for (name, isWrite, offset, expected) in cases {
      let buffer = try bench.buffer(1024)
      let code = queue.refusal(isWrite, at: offset, buffer)
      #expect(code == expected, "\(name)")
    }
    #expect(queue.refusal(false, at: 0, try other.buffer(512)) == .foreignMemory, "unmapped")
    #expect(
      queue.submitDiscard(at: 0, byteCount: 511, tag: 1) == .refused(.invalidArgument), "odd")
    #expect(
      queue.submitWriteZeroes(at: 7, byteCount: 512, tag: 1) == .refused(.invalidArgument), "odd")
    #expect(bench.disk.counters(queue: 0).requests == 0)
    // A misaligned buffer and an odd count are no errors: they bounce.
    let bounced = try queue.read(at: 3, into: try bench.odd())
    #expect(bounced == 1001)
    queue.close()
    #expect(queue.refusal(false, at: 0, try bench.buffer(512)) == .closed, "closed")
    #expect(queue.submitFlush(tag: 1) == .refused(.closed), "closed")
  }

  @Test("T82 diotest4: writes to a read-only device, and a hole in the memory")
  func readOnlyAndHoles() throws {
    let bench = try Bench { $0.readOnly = true }
    var queue = try bench.device.makeQueue()
    #expect(queue.refusal(true, at: 0, try bench.buffer(512)) == .readOnly)
    #expect(queue.submitDiscard(at: 0, byteCount: 512, tag: 1) == .refused(.readOnly))
    let holed = try HoledMemory(bench.device)
    try holed.expectFault(&queue, at: 1)
    #expect(bench.disk.counters(queue: 0).requests == 0)
  }
}

extension Bench {
  /// 1,001 bytes that begin at an odd address; never given back, the process is a test.
  fileprivate func odd() throws -> UnsafeMutableRawBufferPointer {
    let memory = try #require(malloc(1002))
    return UnsafeMutableRawBufferPointer(start: memory + 1, count: 1001)
  }
}

extension VBlkDriver.Queue {
  /// Why a submission is refused; nil where it is not.
  mutating func refusal(
    _ isWrite: Bool, at offset: UInt64, _ buffer: consuming DMABuffer
  ) -> VBlkError.Code? {
    let submission =
      isWrite
      ? submitWrite(at: offset, from: buffer, tag: 1) : submitRead(at: offset, into: buffer, tag: 1)
    guard case .refused(let code, _) = submission else { return nil }
    return code
  }
}
