import CHostIO
import Synchronization
import Testing
import VBlkEmu

@testable import VBlkDriver

/// What submits, kicks and polls: a queue, a port, a group.
protocol Submitting: ~Copyable {
  mutating func submitRead(
    at offset: UInt64, into buffer: consuming DMABuffer, tag: UInt64
  ) -> Submission<DMABuffer>
  mutating func submitWrite(
    at offset: UInt64, from buffer: consuming DMABuffer, tag: UInt64, durable: Bool
  ) -> Submission<DMABuffer>
  mutating func kick()
  mutating func next() -> Completion?
}

extension VBlkDriver.Queue: Submitting {}
extension Port: Submitting {}
extension PollGroup: Submitting {}

/// Carries one value that can't be copied, or is not Sendable, to one other thread.
final class SendBox<Value: ~Copyable>: @unchecked Sendable {
  // Filled before the thread starts, emptied by it alone.
  private var value: Value?

  init(_ value: consuming Value) { self.value = consume value }

  func take() -> Value {
    guard let taken = value.take() else { preconditionFailure("the box is empty") }
    return taken
  }
}

/// Counts across threads.
final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .acquiring) }
  func add() { count.wrappingAdd(1, ordering: .acquiringAndReleasing) }
}

/// A client with 256 KiB of the device to itself: it writes and reads runs of blocks there, several
/// at once and never two over one block, and each read must bring what was written last.
struct Client: ~Copyable {
  private let bench: Bench
  private let base: Int
  private var random: Seeded
  private let blocks = 512
  /// What each block holds, by the writes that have ended; nil while one is under way.
  private var held: [UInt8]
  private var isBusy: [Bool]
  private var inFlight: [UInt64: Run] = [:]

  private struct Run {
    var first: Int
    var count: Int
    var isWrite: Bool
    var fill: UInt8
  }

  init(_ bench: Bench, number: Int) throws {
    self.bench = bench
    base = number * 256 << 10
    random = Seeded(UInt64(number) + 77)
    held = [UInt8](repeating: 0, count: blocks)
    isBusy = [Bool](repeating: false, count: blocks)
  }

  mutating func run<Target: Submitting & ~Copyable>(
    rounds: Int, _ target: inout Target
  ) throws {
    var submitted = 0
    var ended = 0
    let deadline = chio_now_ns() + 240_000_000_000
    while ended < rounds {
      while submitted < rounds, inFlight.count < 6, try submit(UInt64(submitted), &target) {
        submitted += 1
      }
      target.kick()
      while let done = target.next() {
        try end(done)
        ended += 1
      }
      chio_yield()
      guard chio_now_ns() < deadline else {
        Issue.record("\(ended) of \(rounds) ended, \(inFlight.count) in flight")
        return
      }
    }
  }

  private mutating func submit<Target: Submitting & ~Copyable>(
    _ tag: UInt64, _ target: inout Target
  ) throws -> Bool {
    let count = Int.random(in: 1...12, using: &random)
    let first = Int.random(in: 0...blocks - count, using: &random)
    guard !isBusy[first..<first + count].contains(true) else { return false }
    let isWrite = Bool.random(using: &random)
    let fill = UInt8.random(in: 1...255, using: &random)
    var buffer = try bench.device.memory.allocate(byteCount: 512 * count)
    buffer.fill(isWrite ? fill : 0)
    let offset = UInt64(base + 512 * first)
    let submission =
      isWrite
      ? target.submitWrite(at: offset, from: buffer, tag: tag, durable: fill < 16)
      : target.submitRead(at: offset, into: buffer, tag: tag)
    let run = Run(first: first, count: count, isWrite: isWrite, fill: fill)
    switch consume submission {
    case .queued:
      inFlight[tag] = run
      for block in first..<first + count { isBusy[block] = true }
      return true
    case .completed: throw ClientError("\(tag) ended at once")
    case .refused(.busy, _): return false
    case .refused(let code, _): throw ClientError("\(tag) was refused: \(code)")
    }
  }

  private mutating func end(_ done: consuming Completion) throws {
    let tag = done.tag
    let result = done.result
    guard let run = inFlight.removeValue(forKey: tag) else {
      throw ClientError("\(tag) ended, and was not in flight")
    }
    guard result == IOResult(success: 512 * run.count), let buffer = done.buffer else {
      throw ClientError("\(tag): \(result)")
    }
    for (place, block) in (run.first..<run.first + run.count).enumerated() {
      isBusy[block] = false
      if run.isWrite { held[block] = run.fill }
      guard buffer.holds(held[block], in: 512 * place..<512 * place + 512) else {
        throw ClientError("\(tag): block \(block) does not hold \(held[block])")
      }
    }
  }
}

struct ClientError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Submits reads and durable writes whatever becomes of them, and counts that each ends once.
///
/// - Parameters:
///   - target: What they are submitted to.
///   - bench: Gives the memory.
///   - rounds: Operations to end, at least, unless the target is closed.
///   - ended: Counts across threads.
/// - Throws: What allocating memory throws.
func hammer<Target: Submitting & ~Copyable>(
  _ target: inout Target, _ bench: Bench, rounds: Int, _ ended: Counter
) throws {
  var outstanding: Set<UInt64> = []
  var tag: UInt64 = 0
  var isOpen = true
  let deadline = chio_now_ns() + 240_000_000_000
  while isOpen && tag < rounds || !outstanding.isEmpty {
    if isOpen, tag < rounds, outstanding.count < 12 {
      let buffer = try bench.device.memory.allocate(byteCount: 4096)
      let submission =
        tag % 3 == 0
        ? target.submitWrite(at: 8192 * (tag % 100), from: buffer, tag: tag, durable: tag % 2 == 0)
        : target.submitRead(at: 8192 * (tag % 100), into: buffer, tag: tag)
      switch consume submission {
      case .queued:
        outstanding.insert(tag)
        tag += 1
      case .completed:
        ended.add()
        tag += 1
      case .refused(.closed, _): isOpen = false
      case .refused: chio_yield()
      }
    }
    target.kick()
    while let done = target.next() {
      let tag = done.tag
      let result = done.result
      let hasBuffer = done.hasBuffer
      #expect(outstanding.remove(tag) != nil, "\(tag) ended, and was not in flight")
      #expect(result.code != nil || result.byteCount == 4096)
      #expect(hasBuffer)
      ended.add()
    }
    if outstanding.count >= 12 { chio_yield() }
    guard chio_now_ns() < deadline else {
      Issue.record("\(outstanding.count) operations never ended")
      return
    }
  }
}
