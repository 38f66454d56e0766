internal import Glibc

/// A block device of the kernel with all that stands on it: its partitions, and the devices
/// (dm, md, bcache) that hold it or them, to any depth.
struct BlockNode: Equatable {
  /// The kernel's name: "vda", "vda1", "dm-0".
  let name: String
  /// The device number as mount tables write it: "254:0".
  let number: String
  /// Its size.
  let byteCount: UInt64
  /// Its partitions, by name.
  let partitions: [BlockNode]
  /// The devices on top of it, by name.
  let holders: [BlockNode]

  /// The node and everything on it, each once a way that leads to it.
  var all: [BlockNode] {
    [self] + partitions.flatMap(\.all) + holders.flatMap(\.all)
  }

  /// A stack of devices deeper than this is a loop in the tree.
  private static let depthMax = 16

  /// Reads the node in a directory of sysfs.
  static func read(
    _ directory: String, roots: SystemRoots, depth: Int = 0
  ) throws(SystemRoots.ReadFailure) -> BlockNode {
    guard depth < depthMax else { throw missing(directory) }
    let name = directory.split(separator: "/").last.map(String.init) ?? directory
    guard let number = try SystemRoots.word(at: "\(directory)/dev"),
      let size = try SystemRoots.word(at: "\(directory)/size").flatMap({ UInt64($0) })
    else { throw missing("\(directory)/dev or size") }
    var partitions: [BlockNode] = []
    for entry in try SystemRoots.names(in: directory) ?? [] where entry.hasPrefix(name) {
      let path = "\(directory)/\(entry)"
      guard try SystemRoots.text(at: "\(path)/partition") != nil else { continue }
      partitions.append(try read(path, roots: roots, depth: depth + 1))
    }
    var holders: [BlockNode] = []
    for entry in try SystemRoots.names(in: "\(directory)/holders") ?? [] {
      holders.append(
        try read("\(roots.sys)/class/block/\(entry)", roots: roots, depth: depth + 1))
    }
    return BlockNode(
      name: name, number: number, byteCount: size &* 512, partitions: partitions,
      holders: holders)
  }

  /// The disk that the kernel's virtio-blk driver has made of the function whose directory this is;
  /// nil where it has made none.
  static func disk(
    in directory: String, roots: SystemRoots
  ) throws(SystemRoots.ReadFailure) -> BlockNode? {
    for entry in try SystemRoots.names(in: directory) ?? [] where entry.hasPrefix("virtio") {
      let block = "\(directory)/\(entry)/block"
      if let name = try SystemRoots.names(in: block)?.first {
        return try read("\(block)/\(name)", roots: roots)
      }
      // A driver without its disk is one that is just coming or going.
      if try SystemRoots.linkName(at: "\(directory)/\(entry)/driver") != nil {
        throw missing(block)
      }
    }
    return nil
  }

  private static func missing(_ path: String) -> SystemRoots.ReadFailure {
    SystemRoots.ReadFailure(path: path, errno: ENOENT)
  }
}
