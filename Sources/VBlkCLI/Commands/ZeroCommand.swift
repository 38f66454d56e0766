internal import ArgumentParser
internal import VBlk

/// `vblk zero`: makes a range read as zeroes.
struct ZeroCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "zero", abstract: "Makes whole blocks of a device read as zeroes.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @OptionGroup var range: RangeOptions

  @OptionGroup var consent: WriteConsent

  @Flag(help: "Lets the device give the space back.")
  var unmap = false

  func run() throws {
    try consent.check(device)
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    let range = try range.range(capacity: opened.capacity, device: device)
      .inWholeBlocks(of: opened.blockByteCount, device: device)
    var transfer = try Transfer(opened)
    try transfer.sweep("zero", range, by: RangeOptions.sweepByteCount) {
      queue, offset, byteCount throws(VBlkError) in
      try queue.writeZeroes(at: offset, byteCount: byteCount, mayUnmap: unmap)
    }
  }
}
