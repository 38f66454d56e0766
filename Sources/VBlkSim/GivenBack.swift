import DMAPool
import Glibc
import VBlkDriver

/// Buffers that were given back are filled with one value: nobody may write to them from then on.
extension DMABuffer {
  private static var mark: UInt8 { 0xC5 }

  mutating func markGivenBack() {
    unsafe withUnsafeMutableBytes { bytes in
      _ = unsafe bytes.initializeMemory(as: UInt8.self, repeating: Self.mark)
    }
  }

  var isAsGivenBack: Bool {
    unsafe withUnsafeBytes { bytes in
      guard let first = bytes.baseAddress else { return true }
      // Each byte is like the one before it.
      return unsafe bytes[0] == Self.mark && memcmp(first, first + 1, bytes.count - 1) == 0
    }
  }
}

/// Where a buffer is while nobody has it: a class, for it can't be copied.
final class BufferBox {
  var buffer: DMABuffer?

  /// One for each of these requests.
  static func boxes(
    for requests: [Scenario.Request], of device: Device
  ) throws(DMAError) -> [BufferBox] {
    var boxes: [BufferBox] = []
    for request in requests {
      boxes.append(BufferBox(try device.memory.allocate(byteCount: max(1, request.byteCount))))
    }
    return boxes
  }

  /// A buffer that nobody has had yet.
  init(_ buffer: consuming DMABuffer) { giveBack(buffer) }

  /// Takes it for operation `index`.
  func take(_ index: Int) throws -> DMABuffer {
    guard let buffer = buffer.take() else { throw WorldError.bufferLost(index) }
    return buffer
  }

  /// It has come back.
  func giveBack(_ buffer: consuming DMABuffer) {
    buffer.markGivenBack()
    self.buffer = consume buffer
  }

  /// What a submission came to that was not queued.
  enum NotQueued: Equatable {
    case ended(IOResult)
    case refused(VBlkError.Code)
  }

  /// Takes back what a submission did not keep; nil where it was queued.
  func takeBack(_ submission: consuming Submission<DMABuffer>) -> NotQueued? {
    switch consume submission {
    case .queued: return nil
    case .completed(let result, let buffer):
      giveBack(buffer)
      return .ended(result)
    case .refused(let code, let buffer):
      giveBack(buffer)
      return .refused(code)
    }
  }
}

/// Why a world can't go on.
enum WorldError: Error {
  /// A request's buffer is not back from an earlier run.
  case bufferLost(Int)
}
