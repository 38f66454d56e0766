import Foundation

/// The tree that this test was built from.
enum Tree {
  static let root = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

  static func text(_ path: String) throws -> String {
    try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
  }

  /// Every source file: Swift and C under Sources, Swift under Tests and Examples.
  static func files() throws -> [SourceFile] { try scanned.get() }

  /// Read and scanned once for all tests.
  private static let scanned = Result { try scan() }

  private static func scan() throws -> [SourceFile] {
    var files: [SourceFile] = []
    for folder in ["Sources", "Tests", "Examples", "Benchmarks"] {
      guard let paths = FileManager.default.enumerator(atPath: "\(root)/\(folder)") else {
        continue
      }
      for case let path as String in paths where isSource(path) {
        files.append(SourceFile(path: "\(folder)/\(path)", text: try text("\(folder)/\(path)")))
      }
    }
    return files.sorted { $0.path < $1.path }
  }

  static func folders(in path: String) throws -> Set<String> {
    Set(try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(path)"))
  }

  private static func isSource(_ path: String) -> Bool {
    !path.contains(".build") && ["swift", "h", "c"].contains { path.hasSuffix(".\($0)") }
  }
}
