/// Where a function sits: domain, bus, device, function ("0000:00:05.0").
public struct PCIAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The segment of the machine; 0 on most, above 0xFFFF behind some bridges.
  public let domain: UInt32
  /// The bus, 0-255.
  public let bus: UInt8
  /// The device on its bus, 0-31.
  public let device: UInt8
  /// The function of the device, 0-7.
  public let function: UInt8

  /// Makes an address from its parts.
  public init(domain: UInt32 = 0, bus: UInt8, device: UInt8, function: UInt8) {
    self.domain = domain
    self.bus = bus
    self.device = device
    self.function = function
  }

  /// Reads "0000:00:05.0" or "00:05.0" (domain 0), in hexadecimal.
  public init?(_ text: some StringProtocol) {
    let colons = text.split(separator: ":", omittingEmptySubsequences: false)
    guard colons.count == 2 || colons.count == 3, let last = colons.last else { return nil }
    let dots = last.split(separator: ".", omittingEmptySubsequences: false)
    guard dots.count == 2,
      let domain = colons.count == 3 ? Self.hex(colons[0], digits: 4...8) : 0,
      let bus = Self.hex(colons[colons.count - 2], digits: 1...2),
      let device = Self.hex(dots[0], digits: 1...2), device < 32,
      let function = Self.hex(dots[1], digits: 1...1), function < 8
    else { return nil }
    self.init(
      domain: domain, bus: UInt8(bus), device: UInt8(device), function: UInt8(function))
  }

  /// The address as the kernel writes it, domain included.
  public var description: String {
    "\(Self.padded(domain, 4)):\(Self.padded(UInt32(bus), 2)):"
      + "\(Self.padded(UInt32(device), 2)).\(function)"
  }

  /// The order of lspci.
  public static func < (left: PCIAddress, right: PCIAddress) -> Bool {
    (left.domain, left.bus, left.device, left.function)
      < (right.domain, right.bus, right.device, right.function)
  }

  private static func hex(_ text: some StringProtocol, digits: ClosedRange<Int>) -> UInt32? {
    guard digits.contains(text.utf8.count), text.allSatisfy(\.isHexDigit) else { return nil }
    return UInt32(text, radix: 16)
  }

  private static func padded(_ value: UInt32, _ width: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - text.count)) + text
  }
}
