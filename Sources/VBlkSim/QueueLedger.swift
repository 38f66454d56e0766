import VBlkDriver
import VBlkEmu

/// What a run must come to, kept beside the driver and independent of it: each operation ends once,
/// with the result that its bios' statuses make.
struct QueueLedger {
  /// An operation.
  struct Entry {
    var byteCount: Int
    var isSubmitted = false
    var ended = 0
    /// The statuses of its bios, in the order in which the device used them.
    var statuses: [UInt8] = []
    /// Whether a reset found it unfinished.
    var wasReset = false
    /// Errors that a part had seen which a reset may have ended.
    var sweptErrors: [UInt8] = []
    /// Whether it came to a queue that stood still.
    var mayBeRefused = false
  }

  var entries: [Entry]
  /// The first thing that was wrong.
  var problem: String?

  init(byteCounts: [Int]) { entries = byteCounts.map { Entry(byteCount: $0) } }

  mutating func fail(_ message: @autoclosure () -> String) {
    if problem == nil { problem = message() }
  }

  mutating func used(_ operation: Int, status: UInt8) {
    entries[operation].statuses.append(status)
  }

  mutating func reset() {
    for index in entries.indices where entries[index].isSubmitted && entries[index].ended == 0 {
      entries[index].wasReset = true
    }
  }

  /// A bio of a part ended with an error; if a reset ends the part, its operation may have that.
  mutating func saw(_ operation: Int, status: UInt8) {
    if status != 0 { entries[operation].sweptErrors.append(status) }
  }

  /// Ends an operation; by rule 3 its result is its first error, else its bytes.
  mutating func end(_ operation: Int, _ result: IOResult) {
    guard entries.indices.contains(operation), entries[operation].isSubmitted else {
      return fail("operation \(operation) ended, and was never accepted")
    }
    entries[operation].ended += 1
    let entry = entries[operation]
    guard entry.ended == 1 else { return fail("operation \(operation) ended \(entry.ended) times") }
    let first = entry.statuses.first { $0 != 0 }.map(Self.code)
    // A reset may have come before the first error was reaped, or after the last success was.
    let swept = entry.sweptErrors.map(Self.code)
    let isRight =
      result.code == first
      || entry.wasReset && (result.code == .reset || swept.contains { $0 == result.code })
      || entry.mayBeRefused && result.code == .resetting
    guard isRight else {
      return fail(
        "operation \(operation) ended with \(result.code.map { "\($0)" } ?? "success"); its bios "
          + "had statuses \(entry.statuses)\(entry.wasReset ? ", then a reset" : "")")
    }
    let bytes = result.code == nil ? entry.byteCount : 0
    guard result.byteCount == bytes else {
      return fail("operation \(operation) has \(result.byteCount) bytes, not \(bytes)")
    }
  }

  /// A completion came: its buffer is back, and its operation, by its tag from 1 on, has ended.
  mutating func end(_ done: consuming Completion, _ buffers: [BufferBox]) {
    let index = Int(truncatingIfNeeded: done.tag) - 1
    let result = done.result
    if let buffer = done.buffer.take(), buffers.indices.contains(index) {
      buffers[index].giveBack(buffer)
    }
    end(index, result)
  }

  private static func code(_ status: UInt8) -> VBlkError.Code {
    status == 2 ? .unsupported : .ioError
  }

  /// What must hold at the end of a run: nothing is left, and nobody wrote where he must not.
  mutating func finish(_ buffers: [BufferBox], _ disks: [EmulatedDisk]) {
    for (index, entry) in entries.enumerated() where entry.isSubmitted && entry.ended != 1 {
      fail("operation \(index) ended \(entry.ended) times")
    }
    if disks.contains(where: { !$0.dmaFaults.isEmpty }) { fail("DMA outside of what is mapped") }
    for (index, entry) in entries.enumerated() where entry.ended > 0 {
      let isUntouched = buffers[index].buffer?.isAsGivenBack
      if isUntouched == false { fail("the buffer of operation \(index) was written to") }
    }
  }
}
