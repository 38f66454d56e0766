internal import Glibc
internal import PCI

/// A device node under /dev, and who may open it.
struct DeviceNode {
  let path: String

  init(_ path: String) { self.path = path }

  /// D05: what keeps this process from it; nil where nothing does.
  func finding(for process: ProcessFacts) -> Finding? {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      return Finding(
        .nodePermission, .fail, "\(path) is not there",
        remedy: "docker: --device \(path); else see that devtmpfs is on /dev and the module loaded")
    }
    guard let user = process.user, !process.has(.overridePermissions) else { return nil }
    let mode = UInt32(status.st_mode) & 0o777
    let isOwner = Int(status.st_uid) == user
    let isMember = process.groups.contains(Int(status.st_gid))
    let bits = isOwner ? mode >> 6 : isMember ? mode >> 3 : mode
    guard bits & 0o6 != 0o6 else { return nil }
    return Finding(
      .nodePermission, .fail,
      "\(path) is \(status.st_uid):\(status.st_gid) 0\(String(mode, radix: 8)), and this is user "
        + "\(user)",
      remedy: "chown \(user) \(path); to last, a udev rule: SUBSYSTEM==\"vfio\", GROUP=\"vfio\", "
        + "MODE=\"0660\"")
  }
}

/// Whether this process is told the physical addresses of its memory.
struct PageFrames {
  private let path: String
  private static let pageByteCount = 4_096

  init(roots: SystemRoots) { path = "\(roots.proc)/self/pagemap" }

  /// Nil where procfs doesn't say.
  var areVisible: Bool? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    // A page of this process that is surely there: the one that holds the word to be read.
    var word: UInt64 = 0
    let count = unsafe withUnsafeMutableBytes(of: &word) { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      let offset = off_t(UInt(bitPattern: base) / UInt(Self.pageByteCount) * 8)
      return unsafe pread(descriptor, base, bytes.count, offset)
    }
    guard count == 8 else { return nil }
    return word & (1 << 55 - 1) != 0
  }
}
