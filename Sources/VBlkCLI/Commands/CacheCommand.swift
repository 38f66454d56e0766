internal import ArgumentParser
internal import VBlk

/// `vblk cache`: how a device keeps completed writes.
struct CacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache",
    abstract: "Shows whether a device's write cache is volatile, or switches it.",
    discussion: "An emulated disk forgets the choice with the process.")

  /// The modes, as the field calls them.
  enum Mode: String, ExpressibleByArgument, CaseIterable {
    case writeback
    case writethrough
  }

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Argument(help: "The mode to switch to: writeback or writethrough.")
  var mode: Mode?

  @Flag(help: "Write JSON (schema vblk.cache/1).")
  var json = false

  func run() throws {
    let opened = try OpenedDevice(device, access: mode == nil ? .read : .write)
    defer { opened.device.close() }
    if let mode {
      try opened.device.setWriteCache(mode == .writeback ? .writeBack : .writeThrough)
    }
    let now: Mode = opened.device.writeCache == .writeBack ? .writeback : .writethrough
    let isSwitchable = FeatureNames(opened.device.info).accepts("CONFIG_WCE")
    let text = JSONWriter.object { root in
      root.value("schema", "vblk.cache/1")
      root.value("device", device)
      root.value("cache", now.rawValue)
      root.value("switchable", isSwitchable)
    }
    Terminal.write(json ? text : "\(now.rawValue)\n", to: 1)
  }
}
