/// Whether the kernel uses a disk, and for what. What could not be found out counts as use.
public enum DiskUse: Sendable, Equatable {
  /// Nothing uses it.
  case free
  /// Something does, or might; the reasons, the gravest first.
  case inUse([Reason])

  /// One reason not to take a disk away from the kernel.
  public enum Reason: Sendable, Equatable, CustomStringConvertible {
    /// The system lives on it: `/`, `/boot`, `/usr` or `/etc` in some mount namespace.
    case systemDisk(node: String, mountPoint: String)
    /// A file system on it is mounted; the process is one that sees the mount.
    case mounted(node: String, mountPoint: String, process: Int)
    /// The kernel swaps to it.
    case swap(node: String)
    /// Another block device stands on it.
    case held(node: String, by: String)
    /// A file system that spans several devices has it.
    case member(node: String, of: String)
    /// Something else in the kernel has claimed it.
    case claimed(node: String)
    /// It could not be found out.
    case unknown(String)

    /// One line, as `vblk list` prints it.
    public var description: String {
      switch self {
      case .systemDisk(let node, let point): "\(node) holds the system (mounted at \(point))"
      case .mounted(let node, let point, let process):
        "\(node) is mounted at \(point) (seen by process \(process))"
      case .swap(let node): "\(node) is swap space"
      case .held(let node, let by): "\(node) is held by \(by)"
      case .member(let node, let system): "\(node) belongs to \(system)"
      case .claimed(let node): "\(node) is claimed by the kernel (O_EXCL: busy)"
      case .unknown(let why): "could not tell: \(why)"
      }
    }
  }

  /// The reasons; none where nothing uses it.
  public var reasons: [Reason] {
    guard case .inUse(let reasons) = self else { return [] }
    return reasons
  }

  /// Makes a use of what was found.
  init(_ reasons: [Reason]) {
    self = reasons.isEmpty ? .free : .inUse(reasons)
  }
}
