internal import ArgumentParser
internal import VBlk

/// `--offset` and `--length`.
struct RangeOptions: ParsableArguments {
  @Option(help: "Where to begin: 4k, 1MiB, 8s (sectors of 512 bytes) or bytes.", transform: size)
  var offset: UInt64 = 0

  @Option(help: "How many bytes, in the same units; without it, up to the end.", transform: size)
  var length: UInt64?

  /// Operations without data go in pieces of this size, for progress and ^C.
  static let sweepByteCount: UInt64 = 1 << 30

  /// Reads a size; the message of a bad one names what is allowed.
  static let size: @Sendable (String) throws -> UInt64 = { text in
    do throws(AddressError) {
      return try ByteSize.parse(text)
    } catch {
      throw ValidationError(error.description)
    }
  }

  /// The range on a device of `capacity` bytes.
  func range(capacity: UInt64, device: String) throws(Failure) -> ByteRange {
    try ByteRange(offset: offset, length: length, capacity: capacity, device: device)
  }
}
