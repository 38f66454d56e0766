/// What of the kernel a way into user space needs, and whether this kernel has it.
package struct KernelModules: Sendable {
  /// Whether a module can be had.
  package enum State: Sendable, Equatable {
    case loaded
    case loadable
    /// This kernel has none, or it can't be told: where was looked.
    case missing(String)
  }

  package let roots: SystemRoots

  package init(roots: SystemRoots) { self.roots = roots }

  /// The running kernel's release: "6.1.0-56-amd64".
  package var release: String {
    (try? SystemRoots.word(at: "\(roots.proc)/sys/kernel/osrelease")) ?? "unknown"
  }

  /// Whether a driver of PCI functions can be had.
  package func driver(_ name: String) -> State {
    SystemRoots.exists("\(roots.sys)/bus/pci/drivers/\(name)") ? .loaded : module(name)
  }

  /// Whether a module can be had. A built-in one is loaded.
  package func module(_ name: String) -> State {
    if SystemRoots.exists("\(roots.sys)/module/\(Self.canonical(name))") { return .loaded }
    let directory = "\(roots.modules)/\(release)"
    guard SystemRoots.exists(directory) else { return .missing("there is no \(directory)") }
    let lists = ["modules.dep", "modules.builtin"].compactMap { list in
      try? SystemRoots.text(at: "\(directory)/\(list)")
    }
    guard !lists.isEmpty else { return .missing("there is no \(directory)/modules.dep") }
    let isListed = lists.contains { list in
      list.split(separator: "\n").contains { line in
        let path = line.prefix { $0 != ":" }
        let file = path.split(separator: "/").last ?? ""
        return Self.canonical(String(file.prefix { $0 != "." })) == Self.canonical(name)
      }
    }
    return isListed ? .loadable : .missing("\(directory)/modules.dep lists none")
  }

  /// The lockdown that forbids what bypasses the kernel; nil where there is none.
  package var lockdown: String? {
    guard let text = try? SystemRoots.text(at: "\(roots.sys)/kernel/security/lockdown") else {
      return nil
    }
    let chosen = text.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("[") }
    let mode = chosen.map { String($0.dropFirst().dropLast()) }
    return mode == "none" ? nil : mode
  }

  /// The kernel takes "-" and "_" in a module's name for the same.
  private static func canonical(_ name: String) -> String {
    String(name.map { $0 == "-" ? "_" : $0 })
  }
}
