/// Finds functions with bodies by their braces.
enum FunctionScanner {
  struct Function: Equatable {
    /// The line of its keyword, from 1.
    let line: Int
    /// Lines from the keyword to the closing brace.
    let lineCount: Int
  }

  private static let openers = ["func", "init", "deinit", "subscript"]
  /// A declaration that follows says that the one before had no body (in a protocol).
  private static let enders =
    openers + ["var", "let", "case", "static", "mutating", "associatedtype"]

  private static let brackets = Array("()[]{}".utf8)

  private struct Token {
    let word: String
    let line: Int
    let isMember: Bool
  }

  static func functions(in code: [[UInt8]]) -> [Function] {
    let tokens = tokens(in: code)
    return tokens.indices.compactMap { index in
      guard openers.contains(tokens[index].word), !tokens[index].isMember,
        let opening = bodyStart(tokens, after: index),
        let end = closing(tokens, from: opening)
      else { return nil }
      return Function(
        line: tokens[index].line + 1, lineCount: tokens[end].line - tokens[index].line + 1)
    }
  }

  private static func bodyStart(_ tokens: [Token], after start: Int) -> Int? {
    var depth = 0
    for index in tokens.index(after: start)..<tokens.count {
      switch tokens[index].word {
      case "(", "[": depth += 1
      case ")", "]": depth -= 1
      case "{" where depth == 0: return index
      case "}" where depth == 0: return nil
      case let word where depth == 0 && enders.contains(word) && !tokens[index].isMember:
        return nil
      default: break
      }
    }
    return nil
  }

  private static func closing(_ tokens: [Token], from opening: Int) -> Int? {
    var depth = 0
    for index in opening..<tokens.count {
      if tokens[index].word == "{" { depth += 1 }
      if tokens[index].word == "}" {
        depth -= 1
        if depth == 0 { return index }
      }
    }
    return nil
  }

  private static func tokens(in code: [[UInt8]]) -> [Token] {
    var tokens: [Token] = []
    for (number, line) in code.enumerated() {
      var at = 0
      while at < line.count {
        let start = at
        while at < line.count, Words.isWord(line[at]) { at += 1 }
        if at == start {
          at += 1
          // Of what is no word only brackets matter.
          guard brackets.contains(line[start]) else { continue }
        }
        let word = String(decoding: line[start..<at], as: UTF8.self)
        let before = start > 0 ? line[start - 1] : UInt8(ascii: " ")
        tokens.append(
          Token(
            word: word, line: number,
            isMember: before == UInt8(ascii: ".") || before == UInt8(ascii: "`")))
      }
    }
    return tokens
  }
}
