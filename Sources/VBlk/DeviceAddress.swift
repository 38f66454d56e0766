public import PCI

/// Which device, and how: what a string such as `emu:64M,queues=4` or `pci:0000:00:05.0` says.
///
/// In paths and serials a comma is written twice (`emu:a,,b.img` is the file "a,b.img").
public struct DeviceAddress: Sendable, Equatable {
  /// Where the device is.
  public enum Place: Sendable, Equatable {
    /// A function of this machine.
    case pci(PCIAddress)
    /// The socket of a vhost-user back end.
    case vhostUser(path: String)
    /// A device in this process.
    case emulated(Store)
  }

  /// What an emulated device keeps its data in.
  public enum Store: Sendable, Equatable {
    /// Sparse memory, gone with the process.
    case memory(byteCount: UInt64)
    /// Nothing: writes vanish, reads are whatever was in the buffer.
    case null(byteCount: UInt64)
    /// A raw image; its size is the file's.
    case image(path: String)
  }

  /// Where the device is.
  public let place: Place
  /// The options after the place.
  public let options: AddressOptions

  /// What ``init(_:)`` takes, for messages.
  public static let grammar =
    "pci:0000:00:05.0 (or 00:05.0), vhost-user:SOCKET, emu:64M (memory) or emu:FILE (a raw image)"

  /// Makes an address of its parts.
  public init(place: Place, options: AddressOptions = AddressOptions()) {
    self.place = place
    self.options = options
  }

  /// Reads a device string.
  public init(_ text: String) throws(AddressError) {
    let fields = Self.fields(of: text)
    let colon = fields[0].firstIndex(of: ":")
    let scheme = colon.map { String(fields[0][..<$0]) }
    let rest = colon.map { String(fields[0][fields[0].index(after: $0)...]) } ?? fields[0]
    var parser = OptionParser(isEmulated: scheme == "emu")
    for option in fields.dropFirst() { try parser.take(option) }
    try parser.finish()
    options = parser.options
    switch scheme {
    case "emu":
      place = .emulated(try Self.store(rest, isNull: parser.options.isNull))
    case "pci":
      guard let address = PCIAddress(rest) else {
        throw AddressError(
          "\"\(rest)\" is no PCI address", allowed: "allowed is DDDD:BB:DD.F or BB:DD.F in hex",
          remedy: "see `vblk list`")
      }
      place = .pci(address)
    case "vhost-user":
      guard !rest.isEmpty else { throw Self.refused(text, "names no socket") }
      place = .vhostUser(path: rest)
    default:
      throw Self.refused(text, "is no device")
    }
  }

  /// Splits at single commas; a doubled one stands for itself.
  static func fields(of text: String) -> [String] {
    var fields = [""]
    var rest = text[...]
    while let character = rest.popFirst() {
      if character == ",", rest.first != "," {
        fields.append("")
      } else {
        if character == "," { rest.removeFirst() }
        fields[fields.count - 1].append(character)
      }
    }
    return fields
  }

  private static func store(_ text: String, isNull: Bool) throws(AddressError) -> Store {
    guard !text.isEmpty else { throw refused("emu:", "names neither a size nor a file") }
    guard ByteSize.isSizeWithUnit(text) else {
      guard !isNull else {
        throw AddressError(
          "option null goes with a size, and \"\(text)\" is a file", allowed: "emu:SIZE,null",
          remedy: "write for example emu:256M,null")
      }
      return .image(path: text)
    }
    let byteCount = try ByteSize.parse(text)
    guard byteCount > 0, byteCount.isMultiple(of: ByteSize.sector), byteCount < 1 << 62 else {
      throw AddressError(
        "a disk of \(text) can't be", allowed: "allowed are whole sectors of 512 bytes, 1 and up",
        remedy: "write for example emu:64M")
    }
    return isNull ? .null(byteCount: byteCount) : .memory(byteCount: byteCount)
  }

  private static func refused(_ text: String, _ why: String) -> AddressError {
    AddressError(
      "\"\(text)\" \(why)", allowed: "a device is \(grammar)",
      remedy: "see `vblk list` for functions")
  }
}
