/// Data on a disk that nothing uses: partitions, and signatures on the disk and on each of them.
package struct DataSearch {
  let roots: SystemRoots

  package init(roots: SystemRoots) { self.roots = roots }

  /// What was found on the disk that a function is, the gravest first; nothing where it's empty.
  /// What could not be read counts as data.
  package func findings(on function: FunctionNode) throws(PCIError) -> [String] {
    let disk: BlockNode?
    do throws(SystemRoots.ReadFailure) {
      disk = try BlockNode.disk(in: function.directory, roots: roots)
    } catch {
      return ["data that can't be read: \(error.description)"]
    }
    guard let disk else { return [] }
    let partitions = disk.partitions.map(\.name)
    let signatures = (disk.partitions + [disk]).compactMap { signature(on: $0) }
    let list = partitions.joined(separator: ", ")
    return signatures + (partitions.isEmpty ? [] : ["partitions (\(list))"])
  }

  private func signature(on node: BlockNode) -> String? {
    let path = "\(roots.dev)/\(node.name)"
    do throws(SystemRoots.ReadFailure) {
      guard let bytes = try SystemRoots.bytes(at: path, atMost: DataSignature.byteCount) else {
        return "data that can't be read: there is no \(path)"
      }
      return DataSignature.find(in: bytes, node: node.name)?.description
    } catch {
      return "data that can't be read: \(error.description)"
    }
  }
}
