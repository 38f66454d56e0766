internal import ArgumentParser
internal import VBlk

/// `vblk flush`: makes what was written durable.
struct FlushCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flush", abstract: "Makes every write that has completed durable.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  func run() throws {
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    var transfer = try Transfer(opened)
    try transfer.flush()
  }
}
