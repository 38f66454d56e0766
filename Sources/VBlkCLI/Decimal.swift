/// Numbers with a fixed count of digits after the point, as printf's %.nf writes them.
enum Decimal {
  static func text(_ value: Double, digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale: Double = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded(.toNearestOrEven)
    guard scaled < 1e18 else { return "\(value)" }
    let number = UInt64(scaled)
    let sign = value < 0 && number > 0 ? "-" : ""
    guard digits > 0 else { return sign + String(number) }
    let unit = UInt64(scale)
    let fraction = String(number % unit)
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(sign)\(number / unit).\(zeros)\(fraction)"
  }
}
