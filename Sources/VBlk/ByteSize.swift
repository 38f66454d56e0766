/// Sizes and offsets as people write them: "4k", "1MiB", "64M", "8s" (sectors), "4096" (bytes).
public enum ByteSize {
  /// A sector of virtio and of Linux, whatever the device's block is.
  public static let sector: UInt64 = 512

  /// What ``parse(_:)`` takes, for messages.
  public static let grammar =
    "digits with k, M, G or T (or KiB, MiB, GiB, TiB: powers of 1,024)"
    + ", s for sectors of 512 bytes, or nothing for bytes"

  private static let units: [String: UInt64] = [
    "": 1, "s": sector,
    "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20,
    "g": 1 << 30, "gib": 1 << 30, "t": 1 << 40, "tib": 1 << 40,
  ]

  /// Whether the text is digits and a unit, so that a path can be told from a size. Bare digits
  /// are a path.
  public static func isSizeWithUnit(_ text: some StringProtocol) -> Bool {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let unit = text.dropFirst(digits.count).lowercased()
    return !digits.isEmpty && !unit.isEmpty && units[unit] != nil
  }

  /// The number of bytes that the text means.
  public static func parse(_ text: some StringProtocol) throws(AddressError) -> UInt64 {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let suffix = text.dropFirst(digits.count).lowercased()
    guard !digits.isEmpty else { throw refused(text, "is no size") }
    guard let unit = units[suffix] else {
      throw refused(text, "has the unit \"\(text.dropFirst(digits.count))\", which is none")
    }
    guard let count = UInt64(digits) else { throw refused(text, "is above 64 bits") }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
    guard !overflow else { throw refused(text, "is above 64 bits") }
    return bytes
  }

  /// The shortest exact form in powers of 1,024, or with one digit after the point.
  public static func describe(_ byteCount: UInt64) -> String {
    let names = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var step = 0
    while step < 6, byteCount >> (10 * (step + 1)) > 0 { step += 1 }
    let unit = UInt64(1) << (10 * step)
    let whole = byteCount / unit
    let tenths = (byteCount % unit) / (unit / 10 == 0 ? 1 : unit / 10)
    return byteCount % unit == 0
      ? "\(whole) \(names[step])" : "\(whole).\(min(tenths, 9)) \(names[step])"
  }

  private static func refused(_ text: some StringProtocol, _ why: String) -> AddressError {
    AddressError(
      "\"\(text)\" \(why)", allowed: "allowed are \(grammar)", remedy: "write for example 4k or 64M"
    )
  }
}
