internal import Glibc

/// A process that has a function, and by what.
package struct Holder: Equatable, CustomStringConvertible {
  package let process: Int
  package let name: String
  package let path: String

  package var description: String { "process \(process) (\(name))" }
}

/// Looks for processes that have a file open, or mapped: a mapping outlives its descriptor.
struct HolderSearch {
  let roots: SystemRoots

  /// The first other process that has one of the files. Files of a process that can't be read
  /// (without root: those of other users) say nothing.
  func holder(of paths: Set<String>) -> Holder? {
    guard !paths.isEmpty else { return nil }
    let names = (try? SystemRoots.names(in: roots.proc)) ?? []
    let own = Int(getpid())
    for process in names.compactMap({ Int($0) }).sorted() where process != own {
      let directory = "\(roots.proc)/\(process)"
      guard let path = open(in: directory, paths) ?? mapped(in: directory, paths) else { continue }
      let name = (try? SystemRoots.word(at: "\(directory)/comm")) ?? "unknown"
      return Holder(process: process, name: name, path: path)
    }
    return nil
  }

  private func open(in directory: String, _ paths: Set<String>) -> String? {
    let descriptors = (try? SystemRoots.names(in: "\(directory)/fd")) ?? []
    for descriptor in descriptors {
      if let target = try? SystemRoots.linkTarget(at: "\(directory)/fd/\(descriptor)"),
        paths.contains(target)
      {
        return target
      }
    }
    return nil
  }

  /// "7f…-7f… rw-s 00000000 00:16 1234   /sys/devices/…/resource4": proc(5).
  private func mapped(in directory: String, _ paths: Set<String>) -> String? {
    let text = (try? SystemRoots.text(at: "\(directory)/maps")) ?? ""
    for line in text.split(separator: "\n") {
      guard let slash = line.firstIndex(of: "/") else { continue }
      let path = String(line[slash...])
      if paths.contains(path) { return path }
    }
    return nil
  }
}
