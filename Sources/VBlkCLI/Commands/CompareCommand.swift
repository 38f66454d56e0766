internal import ArgumentParser
internal import Glibc
internal import VBlk

/// `vblk compare`: exit 1 and the first byte where two devices differ.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compares two devices; exit 1 and the offset where they differ.")

  @Argument(help: "One device.")
  var first: String

  @Argument(help: "The other.")
  var second: String

  func run() throws {
    let left = try OpenedDevice(first, access: .read)
    defer { left.device.close() }
    let right = try OpenedDevice(second, access: .read)
    defer { right.device.close() }
    var comparison = try Comparison(left, right)
    if let offset = try comparison.firstDifference() {
      throw Failure(.mismatch, "\(first) and \(second) differ at byte \(offset)")
    }
    guard left.capacity == right.capacity else {
      throw Failure(
        .mismatch,
        "\(first) has \(left.capacity) bytes, \(second) \(right.capacity); "
          + "they are equal up to there")
    }
  }
}

/// Reads two devices side by side.
struct Comparison: ~Copyable {
  private var leftQueue: Queue
  private var rightQueue: Queue
  private var leftBuffer: DMABuffer
  private var rightBuffer: DMABuffer
  private let byteCount: UInt64

  init(_ left: OpenedDevice, _ right: OpenedDevice) throws {
    let leftQueue = try left.device.makeQueue()
    let rightQueue = try right.device.makeQueue()
    let leftBuffer = try left.device.memory.allocate(byteCount: Transfer.chunkByteCount)
    let rightBuffer = try right.device.memory.allocate(byteCount: Transfer.chunkByteCount)
    self.leftQueue = leftQueue
    self.rightQueue = rightQueue
    self.leftBuffer = leftBuffer
    self.rightBuffer = rightBuffer
    byteCount = min(left.capacity, right.capacity)
  }

  /// The first byte that differs, as far as both devices go.
  mutating func firstDifference() throws -> UInt64? {
    var progress = Progress("compare", total: byteCount)
    defer { progress.finish() }
    var done: UInt64 = 0
    while done < byteCount {
      try Interrupt.check()
      let count = Int(min(UInt64(Transfer.chunkByteCount), byteCount - done))
      leftBuffer.byteCount = count
      rightBuffer.byteCount = count
      try leftQueue.read(at: done, into: &leftBuffer)
      try rightQueue.read(at: done, into: &rightBuffer)
      let difference = unsafe leftBuffer.withUnsafeBytes { left in
        unsafe rightBuffer.withUnsafeBytes { right in unsafe Self.difference(left, right) }
      }
      if let difference { return done + UInt64(difference) }
      done += UInt64(count)
      progress.update(done)
    }
    return nil
  }

  private static func difference(
    _ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer
  ) -> Int? {
    guard let one = left.baseAddress, let other = right.baseAddress,
      unsafe memcmp(one, other, left.count) != 0
    else { return nil }
    return unsafe zip(left, right).enumerated().first { $0.element.0 != $0.element.1 }?.offset
  }
}
