import VBlk

/// Bytes that follow from their offset and a seed: the same as Tests/VM/pattern.py makes on the
/// host.
enum Pattern {
  static let blockByteCount = 4096

  static func word(_ seed: UInt64, _ offset: UInt64) -> UInt64 {
    var z = (offset ^ (seed << 48)) &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Fills a buffer with what belongs at `offset`.
  static func fill(_ buffer: inout DMABuffer, seed: UInt64, at offset: UInt64) {
    buffer.withUnsafeMutableBytes { bytes in
      for index in stride(from: 0, to: bytes.count, by: 8) {
        bytes.storeBytes(
          of: word(seed, offset + UInt64(index)), toByteOffset: index, as: UInt64.self)
      }
    }
  }

  static func holds(_ buffer: borrowing DMABuffer, seed: UInt64, at offset: UInt64) -> Bool {
    buffer.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: 8).allSatisfy { index in
        bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
          == word(seed, offset + UInt64(index))
      }
    }
  }
}
