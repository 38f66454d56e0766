internal import Glibc
internal import PCI
internal import VBlk

/// Looks for what keeps devices from being driven: the failures that users meet, each with its
/// remedy. Changes nothing.
struct Doctor {
  /// What it looks at, apart from the machine.
  enum Patient: Equatable {
    case function(PCIAddress)
    case socket(path: String)
  }

  private let roots: SystemRoots

  init(roots: SystemRoots = SystemRoots()) { self.roots = roots }

  func report(on patients: [Patient]) throws(PCIError) -> DoctorReport {
    var findings = MachineChecks(roots: roots).all
    for patient in patients {
      switch patient {
      case .function(let address):
        try isBlockDevice(address)
        findings += try FunctionChecks(address, roots: roots).all
      case .socket(let path): findings.append(socket(path))
      }
    }
    if !patients.contains(where: { if case .socket = $0 { true } else { false } }) {
      findings.append(Finding(.socket, .skip, "no socket was named (vhost-user:PATH)"))
    }
    return DoctorReport(kernel: KernelModules(roots: roots).release, findings: findings)
  }

  /// A function that no longer answers is one to look at all the same.
  private func isBlockDevice(_ address: PCIAddress) throws(PCIError) {
    do throws(PCIError) {
      try VirtioFunction(FunctionNode(address, roots: roots)).isBlockDevice()
    } catch {
      guard error.code == .removed else { throw error }
    }
  }

  /// D19.
  private func socket(_ path: String) -> Finding {
    var finding: Finding
    switch UnixSocket.connect(to: path) {
    case 0: finding = Finding(.socket, .ok, "somebody listens at \(path)")
    case ENOENT:
      finding = Finding(
        .socket, .fail, "there is no \(path)", remedy: "start the back end, or correct the path")
    case ECONNREFUSED:
      finding = Finding(
        .socket, .fail, "nobody listens at \(path) (stale socket?)",
        remedy: "start the back end; it may have to remove \(path) first")
    case EACCES, EPERM:
      finding = Finding(
        .socket, .fail, "\(path): permission denied",
        remedy: "chown or chmod the socket, or run as its user")
    case let number:
      finding = Finding(
        .socket, .fail, "\(path): \(unsafe String(cString: strerror(number)))",
        remedy: "name the socket that a vhost-user back end listens at")
    }
    finding.device = "vhost-user:\(path)"
    return finding
  }
}

/// A connection tried and closed again.
enum UnixSocket {
  /// 0, or the errno of what failed. Never waits.
  static func connect(to path: String) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      return ENAMETOOLONG
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    let status = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        unsafe Glibc.connect(
          descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: pointer),
          socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    return status == 0 ? 0 : errno
  }
}
