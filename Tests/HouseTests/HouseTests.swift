import Testing

/// The whole tree keeps the rules of the house.
@Suite("House rules: the tree")
struct HouseTreeTests {
  @Test("lengths, left-over marks, banned calls")
  func tree() throws {
    let files = try Tree.files()
    #expect(files.count > 20, "the tree was not found at \(Tree.root)")
    for violation in files.flatMap(HouseRules.violations) {
      Issue.record("\(violation)")
    }
  }

  @Test("imports are those of the table")
  func imports() throws {
    let files = try Tree.files().filter { $0.path.hasSuffix(".swift") }
    for violation in files.flatMap(ImportTable.violations) {
      Issue.record("\(violation)")
    }
  }

  @Test("docs/ARCHITECTURE.md has the same import table")
  func importTableInDocs() throws {
    let rows = ImportTable.rows(inPage: try Tree.text("docs/ARCHITECTURE.md"))
    let expected = Dictionary(
      uniqueKeysWithValues: ImportTable.rows.map { ($0.target, $0.mayImport) })
    #expect(rows == expected)
  }

  @Test("Package.swift: targets have code, dependencies are in the table, products are the house's")
  func manifest() throws {
    let manifest = Manifest(try Tree.text("Package.swift"))
    let targets = manifest.targets.filter { $0.kind != "testTarget" }
    #expect(Set(targets.map(\.name)) == (try Tree.folders(in: "Sources")))
    #expect(
      Set(manifest.targets.filter { $0.kind == "testTarget" }.map(\.name))
        == (try Tree.folders(in: "Tests").filter { $0.hasSuffix("Tests") }))
    #expect(manifest.products.isSubset(of: ImportTable.products))
    #expect(!manifest.products.isEmpty)
    for target in targets where !ImportTable.cTargets.contains(target.name) {
      let allowed = try #require(ImportTable.allowed(target.name), "no row for \(target.name)")
      #expect(
        allowed.isSuperset(of: target.dependencies),
        "\(target.name) depends on \(target.dependencies.filter { !allowed.contains($0) })")
    }
  }

  @Test("no type bears the name of a module")
  func typeNames() throws {
    let modules = Set(ImportTable.rows.map(\.target))
    for violation in try Tree.files().flatMap({ TypeNames.violations(in: $0, modules: modules) }) {
      Issue.record("\(violation)")
    }
  }
}

/// Types named like a module hide everything else in it.
enum TypeNames {
  static let keywords = ["struct", "class", "enum", "actor", "protocol", "typealias"]

  static func violations(in file: SourceFile, modules: Set<String>) -> [Violation] {
    guard file.path.hasPrefix("Sources/") else { return [] }
    return file.code.indices.flatMap { index in
      let words = String(decoding: file.code[index], as: UTF8.self)
        .split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init)
      return zip(words, words.dropFirst()).filter {
        keywords.contains($0.0) && modules.contains($0.1) && words.first != "import"
          && !words.contains("import")
      }.map {
        Violation(
          path: file.path, line: index + 1, message: "a \($0.0) is named like the module \($0.1)")
      }
    }
  }
}
