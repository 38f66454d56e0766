/// What Package.swift says, as far as the house's rules need it.
struct Manifest {
  struct Target: Equatable {
    let kind: String
    let name: String
    /// Names in quotes in its `dependencies:`, and the package's products by their constants.
    let dependencies: [String]
  }

  let targets: [Target]
  let products: Set<String>

  /// Constants of the manifest that stand for other packages' products.
  static let constants = [
    "logging": "Logging", "arguments": "ArgumentParser", "histogram": "Histogram",
  ]

  init(_ text: String) {
    let kinds = [".target(", ".executableTarget(", ".testTarget(", ".systemLibrary("]
    let targetsText = text.components(after: "\n  targets: [")
    targets = kinds.flatMap { kind in
      targetsText.pieces(between: "\n    \(kind)").compactMap { piece in
        guard let name = piece.quoted(after: "name: ") else { return nil }
        let list = piece.components(after: "dependencies: [").prefix { $0 != "]" }
        let words = list.split { !($0.isLetter || $0.isNumber || $0 == "\"") }.map(String.init)
        return Target(
          kind: String(kind.dropFirst().dropLast()), name: name,
          dependencies: piece.contains("dependencies: [")
            ? words.map { Self.constants[$0] ?? $0.filter { $0 != "\"" } } : [])
      }
    }
    let productsText = text.components(after: "\n  products: [").components(before: "\n  ],")
    products = Set(
      [".library(", ".executable("].flatMap { kind in
        productsText.pieces(between: kind).compactMap { $0.quoted(after: "name: ") }
      })
  }
}

extension String {
  fileprivate func components(after mark: String) -> String {
    guard let range = firstRange(of: mark) else { return "" }
    return String(self[range.upperBound...])
  }

  fileprivate func components(before mark: String) -> String {
    guard let range = firstRange(of: mark) else { return self }
    return String(self[..<range.lowerBound])
  }

  /// What follows each mark, up to the next target of any kind.
  fileprivate func pieces(between mark: String) -> [String] {
    ranges(of: mark).map { range in
      String(self[range.upperBound...]).components(before: "\n    .")
    }
  }

  fileprivate func quoted(after mark: String) -> String? {
    let parts = components(after: mark).split(
      separator: "\"", maxSplits: 2, omittingEmptySubsequences: false)
    return parts.count == 3 ? String(parts[1]) : nil
  }
}
