internal import ArgumentParser
internal import VBlk

/// `--yes`: what a command that writes wants before it touches the disk of a real function.
struct WriteConsent: ParsableArguments {
  @Flag(help: "Lets the command write to a PCI function. What it overwrites is lost.")
  var yes = false

  /// Refuses to write to a function without the flag, before the function is opened.
  func check(_ device: String) throws {
    guard case .pci = try DeviceAddress(device).place, !yes else { return }
    throw Failure(
      .refused, "\(device) is a real disk, and this overwrites data on it",
      allowed: "allowed is reading", remedy: "add --yes if the data may be lost")
  }
}
