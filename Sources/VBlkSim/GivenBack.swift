import DMAPool
import Glibc

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
