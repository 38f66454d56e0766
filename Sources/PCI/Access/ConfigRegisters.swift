/// The command register of configuration space, and the accesses that every function allows.
enum ConfigRegisters {
  static let command = 4
  static let memoryDecoding: UInt32 = 1 << 1
  static let busMaster: UInt32 = 1 << 2
  /// The command register's upper byte, and its bit that masks the interrupt line.
  static let upperCommand = 5
  static let lineDisabled: UInt32 = 1 << 2
}

extension PCIFunction {
  /// Lets the function do DMA, or not, by its command register, and sees that it took. Only the
  /// lower byte is written: the upper one may change meanwhile, with the interrupt line's mask.
  func writeBusMaster(_ enabled: Bool) throws(PCIError) {
    let now = try readConfig(at: ConfigRegisters.command, width: 1)
    let wanted =
      enabled ? now | ConfigRegisters.busMaster : now & ~ConfigRegisters.busMaster
    guard wanted != now else { return }
    try writeConfig(at: ConfigRegisters.command, width: 1, value: wanted)
    let found = try readConfig(at: ConfigRegisters.command, width: 1)
    guard (found ^ wanted) & ConfigRegisters.busMaster == 0 else {
      throw PCIError(
        .system,
        "\(name): the command register reads \(found) after \(wanted) was written",
        remedy: "see that the function is still there: `vblk list`")
    }
  }

  /// Lets the interrupt line signal, by the byte that DMA has no part in.
  func enableLine() throws(PCIError) {
    let now = try readConfig(at: ConfigRegisters.upperCommand, width: 1)
    guard now & ConfigRegisters.lineDisabled != 0 else { return }
    try writeConfig(
      at: ConfigRegisters.upperCommand, width: 1, value: now & ~ConfigRegisters.lineDisabled)
  }

  /// Refuses an access outside configuration space, or one that is not aligned.
  func checkConfig(_ offset: Int, _ width: Int) throws(PCIError) {
    guard width == 1 || width == 2 || width == 4, offset >= 0, offset % width == 0,
      offset + width <= configByteCount
    else {
      throw PCIError(
        .outOfRange,
        "\(name): \(width) bytes of configuration space at \(offset), which has \(configByteCount)",
        remedy: "access 1, 2 or 4 bytes, aligned, inside it")
    }
  }
}
