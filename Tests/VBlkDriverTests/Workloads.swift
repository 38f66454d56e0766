import CHostIO
import Glibc
import Testing
import VBlkEmu

@testable import VBlkDriver

/// Where a workload's bytes are: in memory, or in a file as a real image is.
enum WorkloadStore: String, CaseIterable, CustomTestStringConvertible, Sendable {
  case memory, file

  var testDescription: String { rawValue }

  /// A device of `bytes` bytes whose disk is a thread of its own, unless it is said otherwise.
  func bench(
    bytes: UInt64, queues: Int = 1,
    disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws -> Bench {
    var path: String?
    if self == .file { path = try Self.sparseFile(bytes) }
    // The disk holds the file open; it needs no name any more.
    defer { if let path { unlink(path) } }
    return try Bench(bytes: bytes) {
      if let path { $0.contents = .file(path: path) }
      $0.mode = .threaded
      $0.queues = queues
      change(&$0)
    } options: {
      $0.queues = queues
      $0.memoryByteCount = 16 << 20
      edit(&$0)
    }
  }

  private static func sparseFile(_ bytes: UInt64) throws -> String {
    var template = Array("/tmp/vblk-workload-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    try #require(descriptor >= 0, "no temporary file: errno \(errno)")
    defer { close(descriptor) }
    try #require(ftruncate(descriptor, Int(bytes)) == 0)
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// What an adversary makes of the order of things.
enum Adversary: String, CaseIterable, CustomTestStringConvertible, Sendable {
  /// The device is a thread, and shuffles what it completes.
  case reorders
  /// Some requests are held, until another thread lets them go.
  case delays
  /// The device completes inside the kick, in the submitter's thread.
  case insideKick

  var testDescription: String { rawValue }

  func apply(to configuration: inout EmulatedDisk.Configuration) {
    configuration.completionOrder = .random(seed: 242_116)
    switch self {
    case .reorders: break
    case .delays:
      configuration.faults = [FaultRule(.hold, probability: 0.02)]
    case .insideKick: configuration.mode = .inline
    }
  }

  /// What lets held requests go, as long as it lives; nil where none are held.
  func releaser(_ bench: Bench) -> Releaser? { self == .delays ? Releaser(bench.disk) : nil }
}

/// A thread that lets go of what a disk holds.
final class Releaser: Sendable {
  private let isOver = Counter()
  private let thread: pthread_t

  init(_ disk: EmulatedDisk) {
    let isOver = isOver
    thread = Threads.start {
      while isOver.value == 0 {
        for queue in 0..<disk.configuration.queues { _ = disk.releaseHeld(queue: queue) }
        for _ in 0..<50 { chio_yield() }
      }
    }
  }

  deinit {
    isOver.add()
    pthread_join(thread, nil)
  }
}

extension DMABuffer {
  /// Writes `byte` to all bytes in use.
  mutating func fill(_ byte: UInt8) {
    withUnsafeMutableBytes { bytes in
      if let start = bytes.baseAddress { memset(start, CInt(byte), bytes.count) }
    }
  }

  /// Whether `range`, or all bytes in use, are `byte`.
  func holds(_ byte: UInt8, in range: Range<Int>? = nil) -> Bool {
    withUnsafeBytes { bytes in
      let part = bytes[range ?? 0..<bytes.count]
      guard let first = part.first, first == byte, part.count > 1 else {
        return part.first ?? byte == byte
      }
      guard let start = UnsafeRawBufferPointer(rebasing: part).baseAddress else { return true }
      return memcmp(start, start + 1, part.count - 1) == 0
    }
  }

  /// Whether each sector is one byte over and over, and that byte one of `bytes`: none is torn.
  func hasWholeSectors(of bytes: Set<UInt8>) -> Bool {
    stride(from: 0, to: byteCount, by: 512).allSatisfy { start in
      bytes.contains { holds($0, in: start..<min(start + 512, byteCount)) }
    }
  }

  /// Writes `value` to the first and last eight bytes of each sector.
  mutating func stamp(_ value: (Int) -> UInt64) {
    withUnsafeMutableBytes { bytes in
      for sector in stride(from: 0, to: bytes.count, by: 512) {
        bytes.storeBytes(of: value(sector), toByteOffset: sector, as: UInt64.self)
        bytes.storeBytes(of: value(sector), toByteOffset: sector + 504, as: UInt64.self)
      }
    }
  }

  /// The first sector that does not bear its stamp.
  func wrongStamp(_ value: (Int) -> UInt64) -> Int? {
    withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: 512).first { sector in
        bytes.loadUnaligned(fromByteOffset: sector, as: UInt64.self) != value(sector)
          || bytes.loadUnaligned(fromByteOffset: sector + 504, as: UInt64.self) != value(sector)
      }
    }
  }
}

extension VBlkDriver.Queue {
  /// Submits where there is room; what a refusal gives back is gone.
  mutating func submits(
    _ write: Bool, at offset: UInt64, _ buffer: consuming DMABuffer, tag: UInt64,
    durable: Bool = false
  ) -> Bool {
    let submission =
      write
      ? submitWrite(at: offset, from: buffer, tag: tag, durable: durable)
      : submitRead(at: offset, into: buffer, tag: tag)
    guard case .queued = submission else { return false }
    return true
  }

  /// The next completion; waits for it, up to a minute.
  mutating func wait() throws -> Completion {
    let deadline = chio_now_ns() + 60_000_000_000
    while chio_now_ns() < deadline {
      for _ in 0..<64 { if let done = next() { return done } }
      chio_yield()
    }
    throw ClientError("no completion within a minute")
  }
}
