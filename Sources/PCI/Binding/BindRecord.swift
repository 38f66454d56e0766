internal import Glibc

/// What a function had before it was bound, kept in /run/vblk/ADDRESS.driver until it's given back:
/// two lines, the driver and the driver_override, each empty where there was none.
struct BindRecord: Equatable {
  let driver: String?
  let driverOverride: String?

  static func path(_ address: PCIAddress, roots: SystemRoots) -> String {
    "\(roots.run)/vblk/\(address).driver"
  }

  /// The record of a function; nil where it was never bound by us, or is back.
  static func read(_ address: PCIAddress, roots: SystemRoots) throws(PCIError) -> BindRecord? {
    let path = path(address, roots: roots)
    let text: String?
    do throws(SystemRoots.ReadFailure) {
      text = try SystemRoots.text(at: path)
    } catch {
      throw PCIError(.system, error.description, remedy: "remove it if it isn't vblk's")
    }
    guard let text else { return nil }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count == 3, lines[2].isEmpty, lines.prefix(2).allSatisfy(isName) else {
      throw PCIError(
        .system, "\(path) is no record of a driver: \"\(text.prefix(60))\"",
        remedy: "remove it; `vblk unbind` then gives the function to whichever driver wants it")
    }
    return BindRecord(
      driver: lines[0].isEmpty ? nil : lines[0], driverOverride: lines[1].isEmpty ? nil : lines[1])
  }

  /// Writes it, whole or not at all. The directory is there: the lock is in it.
  func write(_ address: PCIAddress, roots: SystemRoots) throws(PCIError) {
    let path = Self.path(address, roots: roots)
    let draft = path + ".new"
    let bytes = Array("\(driver ?? "")\n\(driverOverride ?? "")\n".utf8)
    let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.failure(draft, errno) }
    let count = unsafe bytes.withUnsafeBytes { buffer in
      unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
    }
    close(descriptor)
    guard count == bytes.count, unsafe rename(draft, path) == 0 else {
      throw Self.failure(draft, errno)
    }
  }

  static func remove(_ address: PCIAddress, roots: SystemRoots) {
    _ = unsafe unlink(path(address, roots: roots))
  }

  private static func isName(_ line: String) -> Bool {
    line.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
  }

  private static func failure(_ path: String, _ number: CInt) -> PCIError {
    PCIError(
      number == EACCES || number == EROFS ? .permission : .system,
      "\(path): \(unsafe String(cString: strerror(number)))",
      remedy: "run as root, with room on /run")
  }
}
