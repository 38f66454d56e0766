/// Writes JSON as it goes: integers as they are, numbers that JSON can't say as null.
struct JSONWriter {
  private(set) var text = ""
  private var needsComma = false

  /// The text of one object, closed by a newline.
  static func object(_ body: (inout JSONWriter) -> Void) -> String {
    var writer = JSONWriter()
    writer.object(nil, body)
    return writer.text + "\n"
  }

  mutating func object(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
    nest(key, "{", "}", body)
  }

  mutating func array(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
    nest(key, "[", "]", body)
  }

  mutating func value(_ key: String? = nil, _ number: some BinaryInteger) {
    put(key, String(number))
  }

  mutating func value(_ key: String? = nil, _ number: Double) {
    put(key, number.isFinite ? "\(number)" : "null")
  }

  mutating func value(_ key: String? = nil, _ truth: Bool) { put(key, truth ? "true" : "false") }

  mutating func value(_ key: String? = nil, _ string: String) { put(key, Self.quoted(string)) }

  mutating func value(_ key: String? = nil, _ string: String?) {
    put(key, string.map(Self.quoted) ?? "null")
  }

  mutating func value(_ key: String? = nil, _ number: (some BinaryInteger)?) {
    put(key, number.map { String($0) } ?? "null")
  }

  private mutating func nest(
    _ key: String?, _ opening: String, _ closing: String, _ body: (inout JSONWriter) -> Void
  ) {
    put(key, opening)
    needsComma = false
    body(&self)
    text += closing
    needsComma = true
  }

  private mutating func put(_ key: String?, _ token: String) {
    if needsComma { text += "," }
    if let key { text += Self.quoted(key) + ":" }
    text += token
    needsComma = true
  }

  private static func quoted(_ string: String) -> String {
    var text = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"", "\\": text += "\\\(scalar)"
      case "\n": text += "\\n"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }
}
