internal import ArgumentParser
internal import VBlk

/// `vblk copy`: a device onto another.
struct CopyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "copy",
    abstract: "Copies a device onto another, which stays sparse where the source has zeroes.",
    discussion: """
      A missing image (emu:FILE) is made with the source's size. The two devices map the same \
      memory: the driver copies nothing.
      """)

  @Argument(help: "The device to read.")
  var source: String

  @Argument(help: "The device to write, at least as large.")
  var destination: String

  @OptionGroup var consent: WriteConsent

  @Flag(help: "JSON: bytes and nanoseconds as integers.")
  var json = false

  func run() throws {
    let target = try DeviceAddress(destination)
    try consent.check(destination)
    let from = try OpenedDevice(
      source, access: .read, depth: Copier.laneCount * Self.requestsPerChunk)
    defer { from.device.close() }
    let image = ImageFile(target)
    if let image, let other = ImageFile(from.address), image.isSame(as: other) {
      throw Failure(
        .usage, "\(source) and \(destination) are the same file", remedy: "copy to another one")
    }
    let isFresh = try image?.createIfMissing(byteCount: from.capacity) ?? false
    let onto: OpenedDevice
    do {
      onto = try OpenedDevice(
        destination, access: .write, depth: Copier.laneCount * Self.requestsPerChunk)
    } catch {
      if isFresh { image?.remove() }
      throw error
    }
    defer { onto.device.close() }
    guard onto.capacity >= from.capacity else {
      throw Failure(
        .usage, "\(destination) has \(onto.capacity) bytes",
        allowed: "\(source) needs \(from.capacity)", remedy: "choose a larger device")
    }
    let start = Clock.nanoseconds
    var copier = try Copier(from, to: onto, isFresh: isFresh)
    try copier.run()
    report(from.capacity, copier.sparseByteCount, copier.bouncedByteCount, since: start)
  }

  private func report(_ bytes: UInt64, _ zeroes: UInt64, _ bounced: UInt64, since start: UInt64) {
    let elapsed = Clock.nanoseconds - start
    guard !json else {
      let text = JSONWriter.object { root in
        root.value("schema", "vblk.copy/1")
        root.value("copied_bytes", bytes)
        root.value("zero_bytes", zeroes)
        root.value("bounced_bytes", bounced)
        root.value("elapsed_ns", elapsed)
      }
      return Terminal.write(text, to: 1)
    }
    Terminal.line(
      "copied \(ByteSize.describe(bytes)), \(ByteSize.describe(zeroes)) of it zeroes, in "
        + "\(Decimal.text(Double(elapsed) / 1e9, digits: 2)) s; \(bounced) bytes bounced")
  }

  /// A chunk may become several requests where a device's segments are small.
  private static let requestsPerChunk = 4
}
