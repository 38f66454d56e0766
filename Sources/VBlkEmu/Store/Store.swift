internal import Glibc
internal import Virtio

/// Where a disk's contents are.
///
/// A trivial value, copied into every queue: the switch is the whole cost of having three. Offsets
/// are in bytes, and the caller has checked them against the capacity. Errors are errno values, 0
/// for none.
enum Store: Sendable {
  /// Nothing moves: reads leave the memory as it is, writes go nowhere.
  case null
  /// Sparse memory.
  case memory(MemoryStore)
  /// A raw file.
  case file(FileStore)

  /// Reads `count` bytes at `offset` into `memory`.
  @inline(__always)
  func read(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) -> CInt {
    switch self {
    case .null: return 0
    case .memory(let store):
      unsafe store.read(memory, count, at: offset)
      return 0
    case .file(let store): return unsafe store.read(memory, count, at: offset)
    }
  }

  /// Writes `count` bytes at `offset` from `memory`.
  @inline(__always)
  func write(_ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64) -> CInt {
    switch self {
    case .null: return 0
    case .memory(let store):
      unsafe store.write(memory, count, at: offset)
      return 0
    case .file(let store): return unsafe store.write(memory, count, at: offset)
    }
  }

  /// Reads into, or writes from, all `segments` in order.
  func transfer(_ segments: HostSegments, at offset: UInt64, writing: Bool) -> CInt {
    if case .null = self { return 0 }
    if case .file(let store) = self, segments.count > 1 {
      return store.transfer(segments, at: offset, writing: writing)
    }
    var position = offset
    return unsafe segments.forEach(in: 0..<segments.count) { memory, length in
      defer { position += UInt64(length) }
      return writing
        ? unsafe write(memory, length, at: position) : unsafe read(memory, length, at: position)
    }
  }

  /// Makes all completed writes durable.
  func flush() -> CInt {
    if case .file(let store) = self { return store.flush() }
    return 0
  }

  /// Gives the space of a range back; it reads zeroes afterwards.
  func discard(_ count: UInt64, at offset: UInt64) -> CInt {
    switch self {
    case .null: return 0
    case .memory(let store): return store.zero(count, at: offset, unmap: true)
    case .file(let store): return store.zero(count, at: offset, unmap: true)
    }
  }

  /// Makes a range read zeroes, and gives its space back if `unmap`.
  func writeZeroes(_ count: UInt64, at offset: UInt64, unmap: Bool) -> CInt {
    switch self {
    case .null: return 0
    case .memory(let store): return store.zero(count, at: offset, unmap: unmap)
    case .file(let store): return store.zero(count, at: offset, unmap: unmap)
    }
  }

  /// Makes the store hold `sectors` sectors at least; it never gets shorter.
  mutating func grow(to sectors: UInt64) throws(EmulatorError) {
    let (byteCount, overflow) = sectors.multipliedReportingOverflow(by: Sector.byteCount)
    guard !overflow, byteCount >> 62 == 0 else {
      throw EmulatorError(
        .invalidArgument, "a capacity of \(sectors) sectors", remedy: "choose less than 2^53")
    }
    switch self {
    case .null: break
    case .memory(let store): self = .memory(try store.grown(to: byteCount))
    case .file(let store): try store.grow(to: byteCount)
    }
  }

  /// Ends the use of what the store holds.
  func close() {
    switch self {
    case .null: break
    case .memory(let store): store.close()
    case .file(let store): store.close()
    }
  }
}

extension Store {
  /// Opens what `configuration` names.
  ///
  /// - Returns: The store, and its bytes.
  static func open(
    _ configuration: EmulatedDisk.Configuration
  ) throws(EmulatorError) -> (store: Store, byteCount: UInt64) {
    let blockSize = UInt64(configuration.blockSize)
    switch configuration.contents {
    case .file(let path):
      let (file, byteCount) = try FileStore.open(
        path: path, readOnly: configuration.readOnly, blockSize: blockSize)
      return (.file(file), byteCount)
    case .memory(let byteCount), .null(let byteCount):
      guard byteCount > 0, byteCount % blockSize == 0, byteCount >> 62 == 0 else {
        throw EmulatorError(
          .invalidArgument, "a disk of \(byteCount) bytes",
          remedy: "choose a positive multiple of the block of \(blockSize) bytes")
      }
      if case .null = configuration.contents { return (.null, byteCount) }
      return (.memory(try MemoryStore(byteCount: byteCount)), byteCount)
    }
  }
}
