internal import ArgumentParser
internal import VBlk

/// `vblk discard`: tells a device that a range is no longer needed.
struct DiscardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discard",
    abstract: "Gives whole blocks of a device back; what they read as afterwards is undefined.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @OptionGroup var range: RangeOptions

  @Flag(help: "Erase the range beyond recovery: whole erase units of the device.")
  var secure = false

  @OptionGroup var consent: WriteConsent

  func run() throws {
    try consent.check(device)
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    let range = try range.range(capacity: opened.capacity, device: device)
      .inWholeBlocks(of: opened.blockByteCount, device: device)
    var transfer = try Transfer(opened)
    try transfer.sweep(secure ? "erase" : "discard", range, by: RangeOptions.sweepByteCount) {
      queue, offset, byteCount throws(VBlkError) in
      if secure {
        try queue.secureErase(at: offset, byteCount: byteCount)
      } else {
        try queue.discard(at: offset, byteCount: byteCount)
      }
    }
  }
}
