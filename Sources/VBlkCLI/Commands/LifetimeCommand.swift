internal import ArgumentParser
internal import VBlk

/// `vblk lifetime`: how worn a device is.
struct LifetimeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lifetime", abstract: "Shows how much of a device's lifetime is used up.")

  @Argument(help: "The device: emu:64M,lifetime, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Flag(help: "Write JSON (schema vblk.lifetime/1).")
  var json = false

  func run() throws {
    let opened = try OpenedDevice(device, access: .read)
    defer { opened.device.close() }
    var queue = try opened.device.makeQueue()
    let lifetime = try queue.lifetime()
    let slc = Self.percent(lifetime.singleLevelCells)
    let mlc = Self.percent(lifetime.multiLevelCells)
    let text = JSONWriter.object { root in
      root.value("schema", "vblk.lifetime/1")
      root.value("device", device)
      root.value("reserved_blocks", "\(lifetime.reservedBlocks)")
      root.value("slc_used_percent_max", slc)
      root.value("slc_exceeded", lifetime.singleLevelCells == .exceeded)
      root.value("mlc_used_percent_max", mlc)
      root.value("mlc_exceeded", lifetime.multiLevelCells == .exceeded)
    }
    let lines =
      "reserved blocks  \(lifetime.reservedBlocks)\n"
      + "wear, SLC        \(Self.text(lifetime.singleLevelCells))\n"
      + "wear, MLC        \(Self.text(lifetime.multiLevelCells))\n"
    Terminal.write(json ? text : lines, to: 1)
  }

  private static func percent(_ wear: Lifetime.Wear) -> Int? {
    if case .upTo(let percent) = wear { return percent }
    return wear == .exceeded ? 100 : nil
  }

  private static func text(_ wear: Lifetime.Wear) -> String {
    switch wear {
    case .undefined: "not said"
    case .upTo(let percent): "up to \(percent) % used"
    case .exceeded: "exceeded"
    }
  }
}
