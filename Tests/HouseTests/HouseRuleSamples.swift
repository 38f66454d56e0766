import Testing

/// Each rule refuses a bad sample, and leaves alone what only looks like one.
@Suite("House rules: bad samples")
struct HouseRuleSamples {
  private func file(_ text: String, at path: String = "Sources/PCI/Sample.swift") -> SourceFile {
    SourceFile(path: path, text: text)
  }

  @Test("a line of 101 columns, a file of 601 lines")
  func lengths() {
    let line = String(repeating: "a", count: 100)
    #expect(HouseRules.lengths(file(line)).isEmpty)
    #expect(HouseRules.lengths(file(line + "a")).map(\.line) == [1])
    let lines = String(repeating: "\n", count: 599)
    #expect(HouseRules.lengths(file(lines)).isEmpty)
    #expect(HouseRules.lengths(file(lines + "\n")).count == 1)
  }

  @Test("a function of 71 lines, wherever it stands")
  func functions() {
    func sample(_ head: String, lines: Int) -> SourceFile {
      file("struct S {\n\(head) {\n" + String(repeating: "  x()\n", count: lines - 2) + "}\n}")
    }
    for head in ["func f(a: Int = 3) -> [Int]", "init()", "deinit", "subscript(i: Int) -> Int"] {
      #expect(HouseRules.functions(sample(head, lines: 70)).isEmpty, "\(head)")
      #expect(HouseRules.functions(sample(head, lines: 71)).map(\.line) == [2], "\(head)")
    }
    let inner = "func f() {\n" + String(repeating: "if a { b }\n", count: 80) + "}"
    #expect(HouseRules.functions(file(inner)).count == 1)
  }

  @Test("a requirement has no body, a call of init is no declaration, braces in text don't count")
  func noFunctions() {
    let long = String(repeating: "x()\n", count: 80)
    #expect(
      HouseRules.functions(file("protocol P {\nfunc f()\nvar a: Int { get }\n\(long)}")).isEmpty)
    #expect(HouseRules.functions(file("var a: Int {\nself.init(b: 1)\n\(long)}")).isEmpty)
    let text = "func f() {\n  let a = \"}\"  // }\n  /* } */\n" + long + "}"
    #expect(HouseRules.functions(file(text)).count == 1)
    let short = "func f() {\n  let a = \"{ \\(b(\"{\")) {\"\n}\n" + long
    #expect(HouseRules.functions(file(short)).isEmpty)
  }

  @Test("marks of unfinished work", arguments: HouseRules.marks)
  func marks(mark: String) {
    #expect(HouseRules.leftOvers(file("a()\n// \(mark): later")).map(\.line) == [2])
    #expect(HouseRules.leftOvers(file("/* \(mark) */")).count == 1)
    #expect(HouseRules.leftOvers(file("let a = \"\(mark)\"")).isEmpty)
    #expect(HouseRules.leftOvers(file("// \(mark)S")).isEmpty)
  }

  @Test("banned calls", arguments: BannedCall.table.map(\.token))
  func bannedCalls(token: String) throws {
    let row = try #require(BannedCall.table.first { $0.token == token })
    let call = token.hasSuffix("(") ? "\(token)x)" : token
    for place in row.places {
      let path = "\(place)/PCI/Sample.swift"
      #expect(BannedCall.violations(in: file("a\n\(call)", at: path)).map(\.line) == [2])
      #expect(BannedCall.violations(in: file("// \(call)", at: path)).isEmpty)
      #expect(BannedCall.violations(in: file("let a = \"\(call)\"", at: path)).isEmpty)
      let explained = BannedCall.violations(in: file("// why\n\(call)", at: path))
      #expect(explained.isEmpty == row.mayBeExplained)
      let withAttribute = BannedCall.violations(in: file("// why\n@safe\n\(call)", at: path))
      #expect(withAttribute.isEmpty == row.mayBeExplained)
    }
    for exception in row.exceptions {
      #expect(BannedCall.violations(in: file(call, at: "\(exception)/Sample.swift")).isEmpty)
    }
  }

  @Test("what only looks like a banned call")
  func notBanned() {
    for text in ["file.print(a)", "func dump(a: Int) {", "blueprint(a)", "fatalError(\"why\")"] {
      #expect(BannedCall.violations(in: file(text)).isEmpty, "\(text)")
    }
  }

  @Test("random numbers without a seed")
  func unseeded() {
    #expect(BannedCall.violations(in: file("Int.random(in: 0..<3)")).count == 1)
    #expect(BannedCall.violations(in: file("Int.random(in: 0..<3, using: &rng)")).isEmpty)
  }

  @Test("imports outside the table")
  func imports() {
    func message(_ text: String, _ target: String) -> [String] {
      ImportTable.violations(in: file(text, at: "Sources/\(target)/Sample.swift")).map(\.message)
    }
    #expect(message("import VBlkEmu", "VBlkDriver") == ["VBlkDriver may not import VBlkEmu"])
    #expect(message("@_exported public import VBlkDriver", "VBlkEmu").count == 1)
    #expect(message("internal import struct Foundation.Data", "PCI").count == 1)
    #expect(message("import Logging", "DMAPool").count == 1)
    #expect(message("import Anything", "Stranger") == ["Stranger has no row in the table"])
    #expect(message("internal import Glibc\nimport Logging", "VBlkDriver").isEmpty)
    #expect(message("import Foundation", "VBlkCLI").isEmpty)
    #expect(message("// import Foundation\nlet a = \"import VBlkEmu\"", "PCI").isEmpty)
  }

  @Test("a page's import table is read as it stands")
  func page() {
    let page = "text\n| target | may import |\n|---|---|\n| A | – |\n| B | A, C |\n\n| D | E |\n"
    #expect(ImportTable.rows(inPage: page) == ["A": [], "B": ["A", "C"]])
  }

  @Test("a manifest's targets, dependencies and products are read")
  func manifest() {
    let manifest = Manifest(
      """
      let package = Package(
        products: [
          .library(name: "A", targets: ["A"]),
          .executable(name: "a", targets: ["C"]),
        ],
        targets: [
          .target(
            name: "A", dependencies: ["B", logging],
            cSettings: x),
          .testTarget(name: "T", dependencies: ["A"]),
          .target(name: "B"),
        ]
      )
      """)
    #expect(manifest.products == ["A", "a"])
    #expect(manifest.targets.map(\.name).sorted() == ["A", "B", "T"])
    #expect(manifest.targets.first { $0.name == "A" }?.dependencies == ["B", "Logging"])
    #expect(manifest.targets.first { $0.name == "B" }?.dependencies == [])
  }

  @Test("a type named like a module")
  func typeNames() {
    let modules: Set<String> = ["PCI"]
    #expect(TypeNames.violations(in: file("public enum PCI {"), modules: modules).count == 1)
    #expect(TypeNames.violations(in: file("public enum PCIError {"), modules: modules).isEmpty)
    #expect(TypeNames.violations(in: file("import class PCI.Bus"), modules: modules).isEmpty)
  }
}
