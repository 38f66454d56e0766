internal import ArgumentParser
internal import Glibc
internal import PCI
internal import VBlk

/// `vblk doctor`: what keeps devices of this machine from being driven, and what to do about it.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Checks what keeps devices from being driven, and says what to do. Changes nothing.",
    discussion: """
      Without a device: this machine and all its virtio-blk functions. Exits 2 where a check failed.
      """)

  @Argument(help: "A function (00:05.0) or a socket (vhost-user:PATH).")
  var device: String?

  @Flag(help: "Write JSON (schema vblk.doctor/1).")
  var json = false

  func run() throws {
    let report = try Doctor().report(on: try patients())
    Terminal.write(json ? report.json : report.text, to: STDOUT_FILENO)
    guard report.failures.isEmpty else {
      throw Failure(
        .unhealthy, "doctor found \(report.failures.joined(separator: ", "))",
        remedy: "each says what to do")
    }
  }

  private func patients() throws -> [Doctor.Patient] {
    guard let device else {
      return try functions()
    }
    if let address = try? DeviceAddress(device), case .vhostUser(let path) = address.place {
      return [.socket(path: path)]
    }
    return [.function(try FunctionArgument.address(device))]
  }

  /// None on a machine without a PCI bus, which is no reason not to look at the rest.
  private func functions() throws -> [Doctor.Patient] {
    do throws(PCIError) {
      return try PCIScan().functions().map { .function($0.identity.address) }
    } catch {
      guard error.code == .unsupported else { throw error }
      return []
    }
  }
}
