import DMAPool

extension DMABuffer {
  /// Writes `byte` to all bytes in use.
  mutating func fill(with byte: UInt8) {
    unsafe withUnsafeMutableBytes { bytes in
      for index in bytes.indices { unsafe bytes[index] = byte }
    }
  }

  /// The byte that all bytes in use read; nil if they differ.
  var filling: UInt8? {
    unsafe withUnsafeBytes { bytes in
      unsafe bytes.allSatisfy { unsafe $0 == bytes[0] } ? bytes[0] : nil
    }
  }

  /// The driver's record.
  var block: DMABlock { unsafe record.pointee }
}
