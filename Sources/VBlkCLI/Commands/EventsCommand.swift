internal import ArgumentParser
internal import Glibc
internal import Synchronization
internal import VBlk

/// `vblk events`: what happens to a device by itself, a line each.
struct EventsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events", abstract: "Shows resizes, requests for a reset, and removal.",
    discussion: "Until ^C, the device's removal, --count or --runtime.")

  @Argument(help: "The device: pci:ADDRESS, emu:64M, emu:FILE.")
  var device: String

  @Option(help: "Ends after that many events.")
  var count: Int?

  @Option(help: "Ends after that time: 10s, 500ms, 2m.", transform: RunTime.option)
  var runtime: UInt64?

  @Flag(help: "Write a line of JSON an event (schema vblk.event/1).")
  var json = false

  @Flag(help: "Makes an emulated device shrink, ask for a reset, and go: for trying a reader out.")
  var rehearse = false

  /// The longest sleep between two looks at the device, in milliseconds.
  private static let sleepMilliseconds: CInt = 50

  func run() throws {
    var address = try DeviceAddress(device)
    try check(address)
    var given = address.options
    given.isReadOnly = true
    address = DeviceAddress(place: address.place, options: given)
    var options = DeviceOptions()
    options.interrupts = true
    let disk: EmulatedDisk?
    let opened: Device
    if case .emulated = address.place {
      let made = try EmulatedDisk(address, options: options)
      disk = made
      opened = try Device(made.function, options: options)
    } else {
      disk = nil
      opened = try Device.open(address, options: options)
    }
    let rehearsal = rehearse ? disk : nil
    let seen = Seen()
    let stream = opened.events()
    let printer = Task { [json] in
      for await event in stream {
        Terminal.write(Self.line(event, json: json), to: STDOUT_FILENO)
        seen.count.wrappingAdd(1, ordering: .releasing)
      }
      seen.isOver.store(true, ordering: .releasing)
    }
    defer { printer.cancel() }
    try watch(opened, seen, rehearsal)
    opened.close()
    try Interrupt.check()
  }

  /// What can be refused before the device is opened.
  private func check(_ address: DeviceAddress) throws(Failure) {
    if case .emulated = address.place {
    } else if rehearse {
      throw Failure(
        .usage, "--rehearse goes with an emulated device", allowed: "allowed is emu:",
        remedy: "leave it out")
    }
    if let count, count < 1 {
      throw Failure(
        .usage, "--count \(count) can't be", allowed: "allowed is 1 or more", remedy: "change it")
    }
  }

  /// What was printed.
  private final class Seen: Sendable {
    let count = Atomic<Int>(0)
    let isOver = Atomic<Bool>(false)
  }

  private func watch(_ device: Device, _ seen: Seen, _ disk: EmulatedDisk?) throws {
    let start = Clock.nanoseconds
    var step = 0
    while !Interrupt.isRequested, !seen.isOver.load(ordering: .acquiring) {
      if let count, seen.count.load(ordering: .acquiring) >= count { return }
      if let runtime, Clock.nanoseconds &- start >= runtime { return }
      if let disk {
        try Self.rehearse(disk, step)
        step += 1
      }
      if let descriptor = device.configurationDescriptor {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&waiting, 1, Self.sleepMilliseconds)
        var signals: UInt64 = 0
        _ = unsafe Glibc.read(descriptor, &signals, 8)
      }
      device.lookForChanges()
    }
  }

  private static func rehearse(_ disk: EmulatedDisk, _ step: Int) throws {
    switch step {
    case 0:
      do {
        try disk.setCapacity(sectors: disk.capacitySectors / 2)
      } catch {
        throw Failure(.ioError, error.cause, remedy: error.remedy)
      }
    case 1: disk.needsReset()
    case 2: disk.remove()
    default: break
    }
  }

  private static func line(_ event: DeviceEvent, json: Bool) -> String {
    let name: String
    var bytes: UInt64?
    switch event {
    case .resized(let byteCount):
      name = "resized"
      bytes = byteCount
    case .needsReset: name = "needs-reset"
    case .removed: name = "removed"
    }
    guard json else {
      return name + (bytes.map { " \($0) bytes (\(ByteSize.describe($0)))" } ?? "") + "\n"
    }
    return JSONWriter.object { object in
      object.value("schema", "vblk.event/1")
      object.value("event", name)
      if let bytes { object.value("bytes", bytes) }
    }
  }
}
