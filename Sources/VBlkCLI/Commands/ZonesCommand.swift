internal import ArgumentParser
internal import VBlk

/// `vblk zones`: the zones of a zoned device.
struct ZonesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "zones",
    abstract: "Reports the zones of a zoned device, opens, closes, finishes, resets, appends.",
    discussion: """
      An emulated disk over a file keeps its zones beside it: disk.img.zones. Its device string \
      says what it is: emu:disk.img,zoned=hm,zone-size=16M.
      """,
    subcommands: [
      ReportZones.self, OpenZone.self, CloseZone.self, FinishZone.self, ResetZone.self,
      AppendToZone.self,
    ])
}

/// `--zone`, or `--offset`: one zone.
struct ZoneOptions: ParsableArguments {
  @Option(help: "The zone's number, from 0.")
  var zone: UInt64?

  @Option(
    help: "The zone's first byte: 16M, 32768s (sectors of 512 bytes) or bytes.",
    transform: RangeOptions.size)
  var offset: UInt64?

  func validate() throws {
    guard zone == nil || offset == nil else {
      throw ValidationError("--zone and --offset both name the zone: leave one out")
    }
  }

  /// First byte of the zone; nil where none is named.
  func start(_ opened: OpenedDevice) throws(Failure) -> UInt64? {
    guard let zoned = opened.device.info.limits.zoned else {
      throw Failure(
        .unavailable, "\(opened.name) has no zones",
        remedy: "zones are a zoned device's; for an emulated one write zoned=hm")
    }
    let count = (opened.capacity + zoned.zoneByteCount - 1) / zoned.zoneByteCount
    if let zone {
      guard zone < count else {
        throw Failure(
          .usage, "zone \(zone) of \(opened.name)", allowed: "it has \(count)",
          remedy: "give a --zone from 0 to \(count - 1)")
      }
      return zone * zoned.zoneByteCount
    }
    guard let offset else { return nil }
    guard offset < opened.capacity else {
      throw Failure(
        .usage, "offset \(offset) is beyond the end of \(opened.name)",
        allowed: "it has \(opened.capacity) bytes", remedy: "give an --offset below that")
    }
    return offset
  }

  /// First byte of the zone that must be named.
  func required(_ opened: OpenedDevice) throws(Failure) -> UInt64 {
    guard let start = try start(opened) else {
      throw Failure(.usage, "no zone is named", remedy: "give a --zone or an --offset")
    }
    return start
  }
}

/// `vblk zones report`.
struct ReportZones: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Shows the zones: where they are, their pointers and states.")

  @Argument(help: "The device: emu:FILE,zoned=hm, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @OptionGroup var first: ZoneOptions

  @Option(help: "How many zones; without it, all to the end.")
  var count: Int?

  @Flag(help: "Write JSON (schema vblk.zones/1).")
  var json = false

  func run() throws {
    let opened = try OpenedDevice(device, access: .read)
    defer { opened.device.close() }
    let start = try first.start(opened) ?? 0
    var queue = try opened.device.makeQueue()
    let zones = try queue.reportZones(from: start, max: max(0, count ?? .max))
    Terminal.write(
      json ? ZoneReport.json(opened, zones) : ZoneReport.text(opened, zones), to: 1)
  }
}

/// What `open`, `close`, `finish` and `reset` have in common.
struct ZoneChange: ParsableArguments {
  @Argument(help: "The device: emu:FILE,zoned=hm, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @OptionGroup var zone: ZoneOptions

  @Flag(help: "Write JSON (schema vblk.zones/1): the zone as it is then.")
  var json = false

  func run(_ action: ZoneAction, all: Bool = false) throws {
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    let start = try all ? zone.start(opened) : zone.required(opened)
    var queue = try opened.device.makeQueue()
    if let start, !all {
      try queue.setZone(action, at: start)
    } else {
      try queue.resetAllZones()
    }
    try queue.flush()
    let zones = try queue.reportZones(from: start ?? 0, max: all ? .max : 1)
    Terminal.write(
      json ? ZoneReport.json(opened, zones) : ZoneReport.text(opened, zones), to: 1)
  }
}

/// `vblk zones open`.
struct OpenZone: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "open", abstract: "Opens a zone: its resources are reserved.")

  @OptionGroup var change: ZoneChange

  func run() throws { try change.run(.open) }
}

/// `vblk zones close`.
struct CloseZone: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "close", abstract: "Closes an open zone; what is written stays.")

  @OptionGroup var change: ZoneChange

  func run() throws { try change.run(.close) }
}

/// `vblk zones finish`.
struct FinishZone: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "finish", abstract: "Makes a zone full; what is written stays.")

  @OptionGroup var change: ZoneChange

  func run() throws { try change.run(.finish) }
}

/// `vblk zones reset`.
struct ResetZone: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset", abstract: "Makes a zone empty; what was written is gone.")

  @OptionGroup var change: ZoneChange

  @Flag(help: "All zones that can be.")
  var all = false

  func run() throws { try change.run(.reset, all: all) }
}

/// `vblk zones append`.
struct AppendToZone: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "append",
    abstract: "Appends a file, or stdin, to a zone, durably; prints each sector that it wrote at.")

  @Argument(help: "The device: emu:FILE,zoned=hm, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Argument(help: "The file to read, or - for stdin.")
  var input = "-"

  @OptionGroup var zone: ZoneOptions

  @Flag(help: "Write JSON (schema vblk.zones.append/1).")
  var json = false

  func run() throws {
    let stream = try FileStream(reading: input)
    let opened = try OpenedDevice(device, access: .write)
    defer { opened.device.close() }
    let start = try zone.required(opened)
    var queue = try opened.device.makeQueue()
    let limit = opened.device.info.limits.zoned?.maxAppendBytes ?? 0
    let size = Int(min(max(limit, 4096), UInt64(Transfer.chunkByteCount)))
    var buffer = try opened.device.memory.allocate(byteCount: size)
    var appends: [(sector: UInt64, byteCount: Int)] = []
    while true {
      try Interrupt.check()
      buffer.byteCount = size
      let count = try unsafe buffer.withUnsafeMutableBytes { bytes throws(Failure) in
        try unsafe stream.read(into: bytes)
      }
      guard count > 0 else { break }
      buffer.byteCount = count
      let offset = try queue.append(to: start, from: buffer)
      appends.append((offset / ByteSize.sector, count))
      if count < size { break }
    }
    try queue.flush()
    Terminal.write(
      json ? ZoneReport.json(opened, zone: start, appends) : ZoneReport.text(appends), to: 1)
  }
}
