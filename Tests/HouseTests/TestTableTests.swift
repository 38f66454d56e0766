import Foundation
import Testing

/// docs/TESTS.md lists the scenarios of direct I/O completion, T01 to T86, each with its tests: the
/// table says what the tests say, and the other way round.
@Suite("The table of scenarios")
struct TestTableTests {
  /// A row: the scenario, its name, the files of its tests or what it needs before it can have one.
  private struct Row {
    let id: String
    let name: String
    let files: [String]
    let need: String?
  }

  private func rows() throws -> [Row] {
    try Tree.text("docs/TESTS.md").split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count == 3, Self.isScenario(cells[0]) else { return nil }
      let need = cells[2].hasPrefix("needs ") ? cells[2] : nil
      return Row(
        id: cells[0], name: cells[1],
        files: need == nil ? cells[2].components(separatedBy: ", ") : [], need: need)
    }
  }

  private static func isScenario(_ word: some StringProtocol) -> Bool {
    word.count >= 3 && word.first == "T" && word.dropFirst().prefix(2).allSatisfy(\.isNumber)
      && (word.count == 3 || word.dropFirst(3) == "a")
  }

  /// The scenarios that each test file names, comments left out.
  private func named() throws -> [String: Set<String>] {
    var named: [String: Set<String>] = [:]
    let separators = CharacterSet.alphanumerics.inverted
    for file in try Tree.files() where file.path.hasPrefix("Tests/") {
      guard let name = file.path.split(separator: "/").last?.dropLast(".swift".count),
        !file.path.hasPrefix("Tests/HouseTests/TestTable")
      else { continue }
      let code = file.lines.filter {
        !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//")
      }
      for line in code where line.contains("\"") {
        for word in line.components(separatedBy: separators) where Self.isScenario(word) {
          named[String(name), default: []].insert(word)
        }
      }
    }
    return named
  }

  @Test("every scenario has its row once, with a test or what it needs")
  func complete() throws {
    let ids = try rows().map(\.id)
    let wanted = (1...86).map { $0 < 10 ? "T0\($0)" : "T\($0)" } + ["T12a"]
    #expect(ids.sorted() == wanted.sorted())
  }

  @Test("each row's files name the scenario, and every file that names one stands in its row")
  func trueBothWays() throws {
    let named = try named()
    let rows = try rows()
    for row in rows {
      #expect(!row.name.isEmpty)
      for file in row.files {
        #expect(named[file]?.contains(row.id) == true, "\(row.id): \(file) has no such test")
      }
      let needed = row.need.map { $0.count > "needs ".count } ?? !row.files.isEmpty
      #expect(needed, "\(row.id) has neither a test nor a reason")
    }
    for (file, ids) in named {
      for id in ids {
        let row = rows.first { $0.id == id }
        #expect(row?.files.contains(file) == true, "\(file) has a test of \(id)")
      }
    }
  }
}
