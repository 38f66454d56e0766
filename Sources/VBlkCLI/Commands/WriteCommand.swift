internal import ArgumentParser
internal import VBlk

/// `vblk write`: a file or stdin onto a device.
struct WriteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write",
    abstract: "Writes a file, or stdin, to a device, and makes it durable.",
    discussion: "Nothing but the bytes of the range changes, whole blocks or not.")

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Argument(help: "The file to read, or - for stdin.")
  var input = "-"

  @OptionGroup var range: RangeOptions

  @OptionGroup var consent: WriteConsent

  func run() throws {
    try consent.check(device)
    let stream = try FileStream(reading: input)
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    // What is known to be too long is refused before the first byte is written.
    let length = range.length ?? stream.remainingByteCount
    _ = try ByteRange(
      offset: range.offset, length: length ?? 0, capacity: opened.capacity, device: device)
    var transfer = try Transfer(opened)
    _ = try transfer.write(stream, at: range.offset, limit: range.length)
  }
}
