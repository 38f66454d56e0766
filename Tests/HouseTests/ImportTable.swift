/// Who may import whom: DESIGN's picture of the house, and docs/ARCHITECTURE.md's table.
enum ImportTable {
  static let rows: [(target: String, mayImport: [String])] = [
    ("Virtio", []),
    ("DMAPool", ["CHostIO", "CNuma"]),
    ("PCI", ["CHostIO", "CPci", "DMAPool"]),
    ("VBlkDriver", ["Virtio", "CHostIO", "DMAPool", "PCI"]),
    ("VBlkEmu", ["Virtio", "CHostIO", "DMAPool", "PCI"]),
    ("VBlk", ["VBlkDriver", "VBlkEmu", "PCI", "DMAPool"]),
    ("VBlkSim", ["VBlk", "VBlkDriver", "VBlkEmu", "DMAPool", "Virtio"]),
    ("CVBlkExports", ["CVBlk", "VBlk"]),
    (
      "VBlkCLI",
      ["VBlk", "VBlkDriver", "VBlkEmu", "VBlkSim", "PCI", "ArgumentParser", "Histogram"]
    ),
  ]

  /// The toolchain's own, free for all.
  static let free: Set<String> = ["Glibc", "Synchronization"]
  /// Where the control plane reports: swift-log and CoreMetrics.
  static let reporting: Set<String> = ["Logging", "CoreMetrics"]
  static let reporters: Set<String> = ["VBlkDriver", "VBlkEmu", "VBlkSim", "VBlkCLI"]
  /// Foundation stays out of the libraries.
  static let foundation: Set<String> = ["Foundation", "FoundationEssentials"]

  /// Targets of C: they import nothing.
  static let cTargets: Set<String> = ["CPci", "CNuma", "CHostIO", "CVBlk"]
  static let products: Set<String> = ["VBlkDriver", "VBlkEmu", "VBlk", "CVBlk", "vblk"]

  static func allowed(_ target: String) -> Set<String>? {
    guard let row = rows.first(where: { $0.target == target }) else { return nil }
    var allowed = free.union(row.mayImport)
    if reporters.contains(target) { allowed.formUnion(reporting) }
    if target == "VBlkCLI" { allowed.formUnion(foundation) }
    return allowed
  }

  /// The modules that a file imports, with the lines.
  static func imports(of file: SourceFile) -> [(module: String, line: Int)] {
    let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "var", "let"]
    return file.code.indices.compactMap { index in
      let words = String(decoding: file.code[index], as: UTF8.self).split(separator: " ")
      guard let keyword = words.firstIndex(of: "import"),
        words[..<keyword].allSatisfy({ $0.hasPrefix("@") || accessLevels.contains(String($0)) }),
        let path = words[(keyword + 1)...].first(where: { !kinds.contains(String($0)) }),
        let module = path.split(separator: ".").first
      else { return nil }
      return (String(module), index + 1)
    }
  }

  static func violations(in file: SourceFile) -> [Violation] {
    guard file.path.hasPrefix("Sources/"), let target = file.target else { return [] }
    guard let allowed = allowed(target) else {
      return [Violation(path: file.path, line: 1, message: "\(target) has no row in the table")]
    }
    return imports(of: file).filter { !allowed.contains($0.module) }.map {
      Violation(
        path: file.path, line: $0.line, message: "\(target) may not import \($0.module)")
    }
  }

  private static let accessLevels: Set<String> = [
    "public", "package", "internal", "fileprivate", "private",
  ]

  /// The table under "| target | may import |" of a page, as it stands there.
  static func rows(inPage text: String) -> [String: [String]] {
    var rows: [String: [String]] = [:]
    var isInside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      let cells = line.split(separator: "|", omittingEmptySubsequences: true).map {
        $0.split(separator: " ").joined(separator: " ")
      }
      if cells == ["target", "may import"] {
        isInside = true
      } else if isInside, cells.count == 2, !cells[0].hasPrefix("-") {
        rows[cells[0]] =
          cells[1] == "–" ? [] : cells[1].split(separator: ",").map { $0.filter { $0 != " " } }
      } else if isInside, cells.count != 2 {
        isInside = false
      }
    }
    return rows
  }
}
