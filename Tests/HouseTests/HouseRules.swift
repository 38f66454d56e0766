import Glibc

/// A place where a rule of the house is broken.
struct Violation: Equatable, CustomStringConvertible {
  let path: String
  let line: Int
  let message: String

  var description: String { "\(path):\(line): \(message)" }
}

/// The rules that need one file at a time. Each has a bad sample in HouseRuleSamples.
enum HouseRules {
  static let columnsMax = 100
  static let fileLinesMax = 600
  static let functionLinesMax = 70
  static let marks = ["TODO", "FIXME", "XXX", "HACK"]

  static func violations(in file: SourceFile) -> [Violation] {
    lengths(file) + functions(file) + leftOvers(file) + BannedCall.violations(in: file)
  }

  /// No line over 100 columns, no file over 600 lines.
  static func lengths(_ file: SourceFile) -> [Violation] {
    var found = file.lines.indices.compactMap { index in
      file.lines[index].count > columnsMax
        ? Violation(
          path: file.path, line: index + 1,
          message: "\(file.lines[index].count) columns; at most \(columnsMax)") : nil
    }
    if file.lines.count > fileLinesMax {
      found.append(
        Violation(
          path: file.path, line: file.lines.count,
          message: "\(file.lines.count) lines; at most \(fileLinesMax): it wants to be two files"))
    }
    return found
  }

  /// No mark of unfinished work in a comment.
  static func leftOvers(_ file: SourceFile) -> [Violation] {
    file.comments.indices.flatMap { index in
      marks.filter { Words.contains(file.comments[index], $0) }.map {
        Violation(path: file.path, line: index + 1, message: "\($0): do it, or file an issue")
      }
    }
  }

  /// No function over 70 lines, from its first line to its closing brace.
  static func functions(_ file: SourceFile) -> [Violation] {
    FunctionScanner.functions(in: file.code).compactMap { function in
      function.lineCount > functionLinesMax
        ? Violation(
          path: file.path, line: function.line,
          message: "a function of \(function.lineCount) lines; at most \(functionLinesMax)") : nil
    }
  }
}

/// Searches for whole words in blanked lines.
enum Words {
  /// The columns where a token stands that no identifier goes on to either side.
  static func columns(_ line: [UInt8], _ token: String) -> [Int] {
    let bytes = Array(token.utf8)
    guard let first = bytes.first, let last = bytes.last else { return [] }
    var columns: [Int] = []
    var from = 0
    while let start = find(bytes, in: line, from: from) {
      let end = start + bytes.count
      let goesOn =
        isWord(first) && start > 0 && isWord(line[start - 1])
        || isWord(last) && end < line.count && isWord(line[end])
      if !goesOn { columns.append(start) }
      from = start + 1
    }
    return columns
  }

  /// The library's search: the tree is large, and a debug build slow.
  private static func find(_ token: [UInt8], in line: [UInt8], from: Int) -> Int? {
    guard from < line.count else { return nil }
    return unsafe line.withUnsafeBytes { line in
      guard let base = line.baseAddress,
        let hit = unsafe memmem(base + from, line.count - from, token, token.count)
      else { return nil }
      return unsafe UnsafeRawPointer(hit) - base
    }
  }

  static func contains(_ line: [UInt8], _ token: String) -> Bool {
    !columns(line, token).isEmpty
  }

  static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
