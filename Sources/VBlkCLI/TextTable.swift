/// Columns for people: as wide as their widest cell, two spaces between, numbers to the right.
struct TextTable {
  enum Alignment { case left, right }

  private let alignments: [Alignment]
  private var rows: [[String]]

  init(_ columns: [(name: String, alignment: Alignment)]) {
    alignments = columns.map(\.alignment)
    rows = [columns.map(\.name)]
  }

  mutating func add(_ cells: [String]) {
    precondition(cells.count == alignments.count, "a row has as many cells as the table columns")
    rows.append(cells)
  }

  /// All rows, the header first, without spaces at the ends of lines.
  var text: String {
    let widths = alignments.indices.map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    return rows.map { line($0, widths) }.joined(separator: "\n") + "\n"
  }

  /// One row in columns of these widths, for a table whose rows are shown as they come.
  func line(_ row: [String], _ widths: [Int]) -> String {
    let cells = row.indices.map { column in
      let fill = String(repeating: " ", count: max(0, widths[column] - row[column].count))
      return alignments[column] == .left ? row[column] + fill : fill + row[column]
    }
    let line = cells.joined(separator: "  ")
    return String(
      line[..<(line.lastIndex { $0 != " " }.map(line.index(after:)) ?? line.startIndex)])
  }
}
