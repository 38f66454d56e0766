internal import PCI

/// What this process may do, as procfs says it. Nil where procfs doesn't.
struct ProcessFacts {
  /// Capabilities that matter here, by their bit.
  enum Capability: UInt64 {
    case overridePermissions = 1
    case lockMemory = 14
    case administer = 21
  }

  private let roots: SystemRoots
  private let fields: [Substring: Substring]

  init(roots: SystemRoots) {
    self.roots = roots
    let text = (try? SystemRoots.text(at: "\(roots.proc)/self/status")) ?? ""
    var fields: [Substring: Substring] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      fields[line[..<colon]] = line[line.index(after: colon)...]
    }
    self.fields = fields
  }

  /// The effective user.
  var user: Int? { words("Uid").flatMap { $0.count > 1 ? Int($0[1]) : nil } }

  /// The effective group, and the others.
  var groups: Set<Int> {
    let own = words("Gid").flatMap { $0.count > 1 ? Int($0[1]) : nil }
    return Set((words("Groups") ?? []).compactMap { Int($0) } + [own].compactMap { $0 })
  }

  /// Whether it has a capability.
  func has(_ capability: Capability) -> Bool {
    let mask = words("CapEff")?.first.flatMap { UInt64($0, radix: 16) } ?? 0
    return mask >> capability.rawValue & 1 == 1
  }

  /// The processors that it may run on.
  var processors: Set<Int>? {
    words("Cpus_allowed_list")?.first.map { Self.list($0) }
  }

  /// The processors' worth of time that its control group gives it; nil for no limit.
  var processorQuota: Double? {
    let groups = (try? SystemRoots.text(at: "\(roots.proc)/self/cgroup")) ?? ""
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let base = "\(roots.sys)/fs/cgroup"
      if parts[1].isEmpty, let quota = unified("\(base)\(parts[2])/cpu.max") { return quota }
      if parts[1].split(separator: ",").contains("cpu") {
        for directory in ["\(base)/cpu\(parts[2])", "\(base)/cpu"] {
          if let quota = older(directory) { return quota }
        }
      }
    }
    return nil
  }

  /// Bytes that it may lock in memory; nil for no limit, or where it can't be told.
  var lockedByteCountMax: UInt64? {
    let text = (try? SystemRoots.text(at: "\(roots.proc)/self/limits")) ?? ""
    let name = "Max locked memory"
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else {
      return nil
    }
    return line.dropFirst(name.count).split(separator: " ").first.flatMap { UInt64($0) }
  }

  /// "0-3,8" as numbers.
  static func list(_ text: some StringProtocol) -> Set<Int> {
    var numbers: Set<Int> = []
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, first <= last, last < 1 << 16 else {
        continue
      }
      numbers.formUnion(first...last)
    }
    return numbers
  }

  /// "150000 100000", or "max 100000".
  private func unified(_ path: String) -> Double? {
    let words = (try? SystemRoots.text(at: path))?.split(whereSeparator: \.isWhitespace) ?? []
    guard words.count == 2, let quota = Double(words[0]), let period = Double(words[1]), period > 0
    else { return nil }
    return quota / period
  }

  private func older(_ directory: String) -> Double? {
    func number(_ name: String) -> Double? {
      (try? SystemRoots.word(at: "\(directory)/\(name)")).flatMap { Double($0) }
    }
    guard let quota = number("cpu.cfs_quota_us"), let period = number("cpu.cfs_period_us"),
      quota > 0, period > 0
    else { return nil }
    return quota / period
  }

  private func words(_ field: Substring) -> [Substring]? {
    fields[field].map { $0.split(whereSeparator: \.isWhitespace) }
  }
}
