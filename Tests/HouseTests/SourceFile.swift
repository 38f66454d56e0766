import Foundation

/// One file of the tree, with its code and its comments told apart.
struct SourceFile {
  /// The path from the top of the tree: "Sources/PCI/PCIError.swift".
  let path: String
  /// The lines as they stand.
  let lines: [String]
  /// The lines with comments and the insides of strings blanked: every column stays.
  let code: [[UInt8]]
  /// The lines with all but comments blanked.
  let comments: [[UInt8]]

  init(path: String, text: String) {
    self.path = path
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var scanner = SourceScanner(Array(text.utf8))
    scanner.run()
    code = Self.split(scanner.code)
    comments = Self.split(scanner.comments)
  }

  /// The target that a path in Sources or Tests belongs to.
  var target: String? {
    let parts = path.split(separator: "/")
    return parts.count >= 3 && (parts[0] == "Sources" || parts[0] == "Tests")
      ? String(parts[1]) : nil
  }

  private static func split(_ bytes: [UInt8]) -> [[UInt8]] {
    bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Array.init)
  }
}

/// Tells code, comments and strings apart, as the Swift lexer does and no further.
struct SourceScanner {
  private let text: [UInt8]
  private var at = 0
  private(set) var code: [UInt8] = []
  private(set) var comments: [UInt8] = []

  init(_ text: [UInt8]) {
    self.text = text
    code.reserveCapacity(text.count)
    comments.reserveCapacity(text.count)
  }

  mutating func run() {
    while at < text.count {
      switch text[at] {
      case UInt8(ascii: "/") where has("//"):
        while at < text.count, text[at] != UInt8(ascii: "\n") { put(inComment: true) }
      case UInt8(ascii: "/") where has("/*"): blockComment()
      case UInt8(ascii: "\""), UInt8(ascii: "#"):
        if let hashes = stringStart() { string(hashes: hashes) } else { put(inCode: true) }
      default: put(inCode: true)
      }
    }
  }

  private mutating func blockComment() {
    var depth = 0
    repeat {
      let opens = has("/*")
      let closes = has("*/")
      if opens || closes { put(inComment: true) }
      put(inComment: true)
      depth += opens ? 1 : closes ? -1 : 0
    } while depth > 0 && at < text.count
  }

  /// How many hashes stand before a quote that starts here; nil where none starts.
  private func stringStart() -> Int? {
    var end = at
    while end < text.count, text[end] == UInt8(ascii: "#") { end += 1 }
    return end < text.count && text[end] == UInt8(ascii: "\"") ? end - at : nil
  }

  private mutating func string(hashes: Int) {
    for _ in 0..<hashes { put() }
    let isLong = has("\"\"\"")
    let quotes = String(repeating: "\"", count: isLong ? 3 : 1)
    let closing = quotes + String(repeating: "#", count: hashes)
    let escape = "\\" + String(repeating: "#", count: hashes)
    for _ in 0..<quotes.count { put(inCode: true) }
    while at < text.count, !has(closing) {
      if !isLong, text[at] == UInt8(ascii: "\n") { return }
      if has(escape + "(") {
        interpolation(escape.count + 1)
      } else if has(escape), at + escape.count < text.count {
        for _ in 0...escape.count { put() }
      } else {
        put()
      }
    }
    for _ in 0..<quotes.count where at < text.count { put(inCode: true) }
    for _ in 0..<hashes where at < text.count { put() }
  }

  /// What stands in an interpolation is code again, strings in it included.
  private mutating func interpolation(_ opening: Int) {
    for _ in 0..<opening { put() }
    var depth = 1
    while at < text.count, depth > 0 {
      if let hashes = stringStart() {
        string(hashes: hashes)
        continue
      }
      if text[at] == UInt8(ascii: "(") { depth += 1 }
      if text[at] == UInt8(ascii: ")") { depth -= 1 }
      put(inCode: depth > 0)
    }
  }

  private func has(_ token: String) -> Bool {
    let bytes = token.utf8
    return at + bytes.count <= text.count && text[at..<at + bytes.count].elementsEqual(bytes)
  }

  private mutating func put(inCode: Bool = false, inComment: Bool = false) {
    guard at < text.count else { return }
    let byte = text[at]
    let blank = byte == UInt8(ascii: "\n") ? byte : UInt8(ascii: " ")
    code.append(inCode ? byte : blank)
    comments.append(inComment ? byte : blank)
    at += 1
  }
}
