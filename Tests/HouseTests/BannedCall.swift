/// What is not written in this house, where, and what to write in its place.
struct BannedCall {
  let token: String
  /// The paths it's banned under.
  let places: [String]
  /// The paths where it's fine all the same.
  let exceptions: [String]
  /// A comment on the line above, with the reason, makes it fine.
  let mayBeExplained: Bool
  let instead: String

  init(
    _ token: String, in places: [String] = ["Sources", "Tests", "Examples"],
    except exceptions: [String] = [], mayBeExplained: Bool = false, instead: String
  ) {
    self.token = token
    self.places = places
    self.exceptions = exceptions
    self.mayBeExplained = mayBeExplained
    self.instead = instead
  }

  static let table: [BannedCall] = [
    BannedCall("print(", in: ["Sources"], instead: "a Logger; in VBlkCLI Terminal.line"),
    BannedCall("debugPrint(", in: ["Sources"], instead: "a Logger; in VBlkCLI Terminal.line"),
    BannedCall("dump(", in: ["Sources"], instead: "a Logger; in VBlkCLI Terminal.line"),
    BannedCall("fatalError()", instead: "fatalError(\"why this can't be\")"),
    BannedCall("preconditionFailure()", instead: "preconditionFailure(\"why this can't be\")"),
    BannedCall("try!", instead: "try, or catch and say what it means"),
    BannedCall("as!", instead: "as?, and an answer to nil"),
    BannedCall("exit(", in: ["Sources"], except: ["Sources/VBlkCLI"], instead: "a typed error"),
    BannedCall("abort(", in: ["Sources"], instead: "fatalError with the reason"),
    BannedCall("sleep(", in: ["Tests", "Sources"], instead: "a bounded wait for a condition"),
    BannedCall("usleep(", in: ["Tests", "Sources"], instead: "a bounded wait for a condition"),
    BannedCall("nanosleep(", in: ["Tests"], instead: "a bounded wait for a condition"),
    BannedCall("Task.sleep", in: ["Tests", "Sources"], instead: "a bounded wait for a condition"),
    BannedCall(
      "@unchecked Sendable", in: ["Sources"], mayBeExplained: true,
      instead: "a Mutex or Atomic; or a comment on the line above that says why it's safe"),
    BannedCall(
      "nonisolated(unsafe)", in: ["Sources"], mayBeExplained: true,
      instead: "a Mutex or Atomic; or a comment on the line above that says why it's safe"),
    BannedCall("DispatchQueue", instead: "a thread that owns its queues"),
    BannedCall("NSLock", instead: "Mutex"),
    BannedCall("pthread_mutex_lock(", instead: "Mutex"),
    BannedCall("SystemRandomNumberGenerator", instead: "a generator with a seed that is printed"),
    BannedCall("randomElement()", instead: "randomElement(using:), seeded"),
    BannedCall("shuffled()", instead: "shuffled(using:), seeded"),
    BannedCall("#if false", instead: "nothing: the history keeps it"),
  ]

  static func violations(in file: SourceFile) -> [Violation] {
    table.flatMap { $0.violations(in: file) } + unseeded(file)
  }

  private func violations(in file: SourceFile) -> [Violation] {
    guard places.contains(where: { file.path.hasPrefix($0 + "/") }),
      !exceptions.contains(where: { file.path.hasPrefix($0 + "/") })
    else { return [] }
    return file.code.indices.compactMap { index in
      guard
        Words.columns(file.code[index], token).contains(where: {
          isCall(file.code[index], at: $0)
        })
      else { return nil }
      if mayBeExplained, Self.isExplained(file, at: index) { return nil }
      return Violation(path: file.path, line: index + 1, message: "\(token): write \(instead)")
    }
  }

  /// Whether a comment stands on the line above, attributes between left out.
  private static func isExplained(_ file: SourceFile, at line: Int) -> Bool {
    var above = line - 1
    while above >= 0, file.lines[above].drop(while: { $0 == " " }).hasPrefix("@") { above -= 1 }
    return above >= 0 && file.lines[above].contains("//")
  }

  /// A method of that name, or its declaration, is another thing.
  private func isCall(_ line: [UInt8], at column: Int) -> Bool {
    guard token.hasSuffix("("), column > 0 else { return true }
    if line[column - 1] == UInt8(ascii: ".") { return false }
    let before = String(decoding: line[..<column], as: UTF8.self)
    return !before.hasSuffix("func ")
  }

  /// Everything random has a seed.
  private static func unseeded(_ file: SourceFile) -> [Violation] {
    file.code.indices.compactMap { index in
      let line = String(decoding: file.code[index], as: UTF8.self)
      return line.contains(".random(in:") && !line.contains("using:")
        && !isExplained(file, at: index)
        ? Violation(
          path: file.path, line: index + 1,
          message: ".random(in:): write .random(in:using:), seeded") : nil
    }
  }
}
