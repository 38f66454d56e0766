internal import ArgumentParser
internal import VBlk

/// `vblk read`: bytes of a device into a file or stdout.
struct ReadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Reads bytes of a device into a file, or to stdout.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Argument(help: "The file to write, or - for stdout.")
  var output = "-"

  @OptionGroup var range: RangeOptions

  func run() throws {
    let opened = try OpenedDevice(device, access: .read)
    defer { opened.device.close() }
    let range = try range.range(capacity: opened.capacity, device: device)
    let stream = try FileStream(writing: output)
    var transfer = try Transfer(opened)
    try transfer.read(range, into: stream)
  }
}
