/// The mount tables of every mount namespace that a process of this machine lives in.
///
/// A namespace without a process (kept alive by a bind mount) can't be seen this way: the
/// exclusive open in ``DiskUse`` catches what it mounts.
struct MountTables {
  /// One line of a mount table.
  struct Mount: Equatable {
    /// The device number of the file system; "0:n" where it has none of its own.
    let number: String
    /// Where it is mounted.
    let mountPoint: String
    /// What was mounted, as it was given: often a path.
    let source: String
    /// A process that sees it.
    let process: Int
  }

  /// The mounts that were read, each namespace once.
  private(set) var mounts: [Mount] = []
  /// Why the answer may be incomplete; nil where it's complete.
  private(set) var gap: String?

  /// Reads the tables of all processes.
  init(roots: SystemRoots) {
    let names: [String]
    do throws(SystemRoots.ReadFailure) {
      names = try SystemRoots.names(in: roots.proc) ?? []
    } catch {
      gap = error.description
      return
    }
    let processes = names.compactMap { Int($0) }.sorted()
    guard !processes.isEmpty else {
      gap = "\(roots.proc) lists no processes"
      return
    }
    var namespaces: Set<String> = []
    var failures: [SystemRoots.ReadFailure] = []
    for process in processes {
      do throws(SystemRoots.ReadFailure) {
        try add(process, roots: roots, namespaces: &namespaces)
      } catch {
        if !error.isEndOfProcess { failures.append(error) }
      }
    }
    if let first = failures.first {
      gap = "\(failures.count) mount tables are unreadable, the first is \(first.description)"
    }
  }

  private mutating func add(
    _ process: Int, roots: SystemRoots, namespaces: inout Set<String>
  ) throws(SystemRoots.ReadFailure) {
    let directory = "\(roots.proc)/\(process)"
    // An unreadable namespace link only costs a second reading of the same table.
    let namespace = try? SystemRoots.linkName(at: "\(directory)/ns/mnt")
    if let namespace, namespaces.contains(namespace) { return }
    guard let text = try SystemRoots.text(at: "\(directory)/mountinfo") else { return }
    if let namespace { namespaces.insert(namespace) }
    for line in text.split(separator: "\n") {
      guard let mount = Self.parse(line, process: process) else {
        gap = "\(directory)/mountinfo has a line that is none: \(line.prefix(60))"
        continue
      }
      mounts.append(mount)
    }
  }

  /// "36 35 98:0 /root /at options tags - type source options": proc(5).
  static func parse(_ line: Substring, process: Int) -> Mount? {
    let fields = line.split(separator: " ")
    guard fields.count >= 6, let dash = fields.firstIndex(of: "-"), dash >= 6,
      dash + 2 < fields.count
    else { return nil }
    return Mount(
      number: String(fields[2]), mountPoint: unescaped(fields[4]),
      source: unescaped(fields[dash + 2]), process: process)
  }

  /// A space is "\040" in these tables, and so on.
  static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
