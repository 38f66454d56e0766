internal import VBlkDriver
internal import VBlkEmu

/// The zones that a device string gives an emulated device: `zoned=hm,zone-size=16M,max-open=4`.
public struct ZonedOptions: Sendable, Equatable {
  /// Who keeps writes in order.
  public enum Model: String, Sendable, CaseIterable {
    /// The host: writes go to write pointers only.
    case hostManaged = "hm"
    /// The host, if it likes to.
    case hostAware = "ha"
    /// ZONED is offered, but there are no zones.
    case none
  }

  /// Who keeps writes in order; nil for a device without ZONED.
  public var model: Model?
  /// Numbers by their option's name, in bytes or zones.
  private var numbers: [String: UInt64] = [:]

  /// Sizes, in bytes of whole sectors.
  private static let sizes: Set<String> = [
    "zone-size", "zone-capacity", "max-append", "write-granularity",
  ]
  /// Numbers of zones.
  private static let counts: Set<String> = ["conventional", "max-open", "max-active"]
  /// All that are options here.
  static let names = sizes.union(counts).union(["zoned"])

  /// No zones.
  public init() {}

  /// Takes an option if it is one of zones.
  mutating func take(_ name: String, _ value: String?) throws(AddressError) -> Bool {
    guard Self.names.contains(name) else { return false }
    if name == "zoned" {
      guard let model = value.flatMap(Model.init(rawValue:)) else {
        throw AddressError(
          "option zoned has the value \"\(value ?? "")\"",
          allowed: "allowed are hm (host-managed), ha (host-aware) and none",
          remedy: "write zoned=hm")
      }
      self.model = model
      return true
    }
    let isSize = Self.sizes.contains(name)
    guard let value, let number = try? ByteSize.parse(value),
      isSize ? number % ByteSize.sector == 0 : true,
      (isSize ? number / ByteSize.sector : number) <= UInt64(Int32.max)
    else {
      throw AddressError(
        "option \(name) has the value \"\(value ?? "")\"",
        allowed: isSize ? "allowed are whole sectors of 512 bytes" : "allowed is a number of zones",
        remedy: "write \(name)=\(isSize ? "16M" : "4")")
    }
    numbers[name] = number
    return true
  }

  /// What it comes to for an emulated disk.
  func zones() throws(VBlkError) -> EmulatedDisk.Zones? {
    guard let model else {
      guard numbers.isEmpty else {
        throw VBlkError(
          .invalidArgument,
          "\(numbers.keys.sorted().joined(separator: ", ")) without zoned: there are no zones",
          remedy: "write zoned=hm too")
      }
      return nil
    }
    var zones: EmulatedDisk.Zones =
      switch model {
      case .hostManaged: .hostManaged
      case .hostAware: .hostAware
      case .none: .none
      }
    func sectors(_ name: String) -> UInt32? {
      numbers[name].map { UInt32($0 / ByteSize.sector) }
    }
    func count(_ name: String) -> UInt32? { numbers[name].map { UInt32($0) } }
    zones.zoneSectors = sectors("zone-size")
    zones.capacitySectors = sectors("zone-capacity")
    zones.conventionalZones = count("conventional")
    zones.maxOpenZones = count("max-open") ?? zones.maxOpenZones
    zones.maxActiveZones = count("max-active") ?? zones.maxActiveZones
    zones.maxAppendSectors = sectors("max-append") ?? zones.maxAppendSectors
    zones.writeGranularity = sectors("write-granularity").map { $0 * 512 } ?? zones.writeGranularity
    return zones
  }
}
