internal import Glibc
internal import Virtio

/// The zones' states beside an image, `disk.img.zones`: a head, then a record a zone, each of
/// 64-bit little-endian words with a checksum of its own.
///
/// ```
/// head    magic | version, model | zone sectors | capacity sectors | disk sectors | conventional
///         | zones | checksum                                                          64 bytes
/// record  write pointer | state | zone | checksum                                     32 bytes
/// ```
/// It is made whole under another name and renamed. A record is written in place, after the data:
/// it never crosses a sector, and what a crash leaves of it is seen by its checksum. One process at
/// a time has it for writing.
final class ZoneFile: Sendable {
  /// What the head says.
  struct Shape: Equatable {
    let model: UInt64
    let zoneSectors: UInt64
    let capacitySectors: UInt64
    let diskSectors: UInt64
    let conventional: UInt64
    let count: UInt64
  }

  private static let magic: UInt64 = 0x454E_4F5A_6B6C_6276  // "vblkZONE"
  private static let version: UInt64 = 1
  private static let headWords = 8
  private static let recordWords = 4

  let path: String
  private let descriptor: CInt

  private init(path: String, descriptor: CInt) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { Glibc.close(descriptor) }

  // MARK: - Opening

  /// Opens the file at `path`, alone unless for reading.
  ///
  /// - Returns: nil where there is none.
  static func open(path: String, readOnly: Bool) throws(EmulatorError) -> ZoneFile? {
    let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK
    let descriptor = unsafe Glibc.open(path, flags)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw failure("can't open \(path)", errno)
    }
    let file = ZoneFile(path: path, descriptor: descriptor)
    guard flock(descriptor, (readOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 else {
      throw EmulatorError(
        .busy, "\(path) is in use by another process", remedy: "end what has the disk open")
    }
    return file
  }

  /// Makes the file of a table, whole or not at all, and opens it.
  static func make(path: String, _ table: ZoneTable) throws(EmulatorError) -> ZoneFile {
    let scratch = path + ".new"
    let descriptor = unsafe Glibc.open(
      scratch, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644 as mode_t)
    guard descriptor >= 0 else { throw failure("can't make \(scratch)", errno) }
    let file = ZoneFile(path: path, descriptor: descriptor)
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw EmulatorError(
        .busy, "\(scratch) is in use by another process", remedy: "end what has the disk open")
    }
    var words = head(Shape(table.geometry))
    for index in table.zones.indices { words += record(index, table.zones[index]) }
    let error = file.write(words, at: 0)
    guard error == 0, fsync(descriptor) == 0, unsafe rename(scratch, path) == 0 else {
      let cause = error == 0 ? errno : error
      unsafe unlink(scratch)
      throw failure("can't make \(path)", cause)
    }
    syncDirectory(of: path)
    return file
  }

  private static func syncDirectory(of path: String) {
    let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let descriptor = unsafe Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    Glibc.close(descriptor)
  }

  private static func failure(_ what: String, _ error: CInt) -> EmulatorError {
    let code: EmulatorError.Code = error == EACCES || error == EPERM ? .permission : .system
    return EmulatorError(
      code, "\(what): \(unsafe String(cString: strerror(error)))",
      remedy: "the zones' states are kept beside the image: let this user write there")
  }

  // MARK: - Reading

  /// What the head says.
  func shape() throws(EmulatorError) -> Shape {
    guard let words = read(Self.headWords, at: 0), words[0] == Self.magic else {
      throw damaged("it doesn't begin as a file of zones does")
    }
    guard words[7] == Self.checksum(words[..<7]) else { throw damaged("its head's checksum") }
    guard words[1] & 0xFFFF_FFFF == Self.version else {
      throw damaged("version \(words[1] & 0xFFFF_FFFF) isn't \(Self.version)")
    }
    return Shape(
      model: words[1] >> 32, zoneSectors: words[2], capacitySectors: words[3],
      diskSectors: words[4], conventional: words[5], count: words[6])
  }

  /// The zones, each held against the geometry, which must be the file's.
  func zones(_ geometry: ZoneGeometry) throws(EmulatorError) -> [ZoneTable.Zone] {
    let wanted = Shape(geometry)
    let found = try shape()
    guard found == wanted else {
      throw EmulatorError(
        .invalidImage, "\(path) is of other zones: \(found.text), not \(wanted.text)",
        remedy: "open it as it was made, or remove it: then all zones are empty")
    }
    var zones: [ZoneTable.Zone] = []
    var open = 0
    var active = 0
    for index in 0..<geometry.count {
      guard let words = read(Self.recordWords, at: Self.position(index)),
        words[3] == Self.checksum(words[..<3]), words[2] == UInt64(index),
        let state = UInt8(exactly: words[1]).flatMap(ZoneState.init(rawValue:))
      else { throw damaged("the record of zone \(index)") }
      let zone = ZoneTable.Zone(state: state, pointer: words[0])
      guard zone.isPossible(index, geometry) else {
        throw damaged("zone \(index) is \(state) with its pointer at sector \(words[0])")
      }
      zones.append(zone)
      open += state.isOpen ? 1 : 0
      active += state.isActive ? 1 : 0
    }
    guard geometry.maxOpen == 0 || open <= geometry.maxOpen,
      geometry.maxActive == 0 || active <= geometry.maxActive
    else {
      throw EmulatorError(
        .invalidArgument,
        "\(path) has \(open) open and \(active) active zones, more than \(geometry.maxOpen) and "
          + "\(geometry.maxActive)", remedy: "raise max-open and max-active, or remove the file")
    }
    return zones
  }

  private func damaged(_ what: String) -> EmulatorError {
    EmulatorError(
      .invalidImage, "\(path) is damaged: \(what)",
      remedy: "remove it, and all zones are empty; restore it, if what is written matters")
  }

  // MARK: - Writing

  /// Writes a zone's record.
  ///
  /// - Returns: An errno, 0 for none.
  func store(_ index: Int, _ zone: ZoneTable.Zone) -> CInt {
    write(Self.record(index, zone), at: Self.position(index))
  }

  /// Makes the records durable.
  ///
  /// - Returns: An errno, 0 for none.
  func flush() -> CInt {
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { return errno }
    }
    return 0
  }

  // MARK: - Words

  private static func head(_ shape: Shape) -> [UInt64] {
    let words = [
      magic, version | shape.model << 32, shape.zoneSectors, shape.capacitySectors,
      shape.diskSectors, shape.conventional, shape.count,
    ]
    return words + [checksum(words[...])]
  }

  private static func record(_ index: Int, _ zone: ZoneTable.Zone) -> [UInt64] {
    let words = [zone.pointer, UInt64(zone.state.rawValue), UInt64(index)]
    return words + [checksum(words[...])]
  }

  private static func position(_ index: Int) -> Int { 8 * (headWords + recordWords * index) }

  /// FNV-1a of the words' bytes.
  private static func checksum(_ words: ArraySlice<UInt64>) -> UInt64 {
    words.reduce(0xCBF2_9CE4_8422_2325) { sum, word in
      (0..<8).reduce(sum) { ($0 ^ (word >> (8 * $1) & 0xFF)) &* 0x100_0000_01B3 }
    }
  }

  private func read(_ count: Int, at position: Int) -> [UInt64]? {
    var words = [UInt64](repeating: 0, count: count)
    let done = unsafe words.withUnsafeMutableBytes {
      unsafe pread(descriptor, $0.baseAddress, $0.count, off_t(position))
    }
    return done == 8 * count ? words : nil
  }

  private func write(_ words: [UInt64], at position: Int) -> CInt {
    unsafe words.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      var done = 0
      while done < bytes.count {
        let step = unsafe pwrite(
          descriptor, base + done, bytes.count - done, off_t(position + done))
        if step > 0 {
          done += step
        } else if errno != EINTR {
          return errno
        }
      }
      return 0
    }
  }
}

extension ZoneFile.Shape {
  init(_ geometry: ZoneGeometry) {
    self.init(
      model: UInt64(geometry.model.rawValue), zoneSectors: geometry.zoneSectors,
      capacitySectors: geometry.capacitySectors, diskSectors: geometry.diskSectors,
      conventional: UInt64(geometry.conventional), count: UInt64(geometry.count))
  }

  fileprivate var text: String {
    "model \(model), \(count) zones of \(zoneSectors) sectors, \(capacitySectors) writable, "
      + "\(conventional) conventional, on a disk of \(diskSectors)"
  }
}

extension ZoneTable.Zone {
  /// Whether zone `index` can be in this state with this pointer.
  fileprivate func isPossible(_ index: Int, _ geometry: ZoneGeometry) -> Bool {
    let start = geometry.start(index)
    let end = geometry.capacityEnd(index)
    switch state {
    case .notWritePointer: return geometry.kind(index) == .conventional && pointer == start
    case .empty: return geometry.kind(index) != .conventional && pointer == start
    case .implicitlyOpen, .closed:
      return geometry.kind(index) != .conventional && pointer > start && pointer < end
    case .explicitlyOpen:
      return geometry.kind(index) != .conventional && pointer >= start && pointer < end
    case .full, .readOnly, .offline:
      return geometry.kind(index) != .conventional && pointer >= start && pointer <= end
    }
  }
}
