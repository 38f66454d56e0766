internal import ArgumentParser
internal import VBlk

/// `vblk info`: what a device is and how the driver would run it.
struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Shows a device's capacity, features, limits, queues and DMA memory.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Flag(name: [.short, .long], help: "Each region, its size and how it is reached.")
  var verbose = false

  @Flag(help: "Write JSON (schema vblk.info/1).")
  var json = false

  func run() throws {
    // The device as it is, not made read-only: its features are what is asked for. Where it can't
    // be opened for writing it is shown as a reader sees it.
    let opened = try Self.open(device)
    defer { opened.device.close() }
    var queue = try opened.device.makeQueue()
    let serial = try queue.identify()
    Terminal.write(
      json
        ? DeviceReport.json(opened, serial: serial)
        : DeviceReport.text(opened, serial: serial, isVerbose: verbose),
      to: 1)
  }

  private static func open(_ name: String) throws -> OpenedDevice {
    if try DeviceAddress(name).options.isReadOnly {
      return try OpenedDevice(name, access: .read)
    }
    do {
      return try OpenedDevice(name, access: .write)
    } catch let error as VBlkError where error.code == .permission {
      return try OpenedDevice(name, access: .read)
    }
  }
}
