/// The capability list of a configuration space, as far as a scan needs it.
enum ConfigCapabilities {
  /// A list has at most 48 entries: 192 bytes after the header, four each. More is a loop.
  static let countMax = 48
  /// The id of a capability that the vendor defines; virtio's are all of this kind.
  static let vendorSpecific: UInt8 = 0x09

  private static let status = 0x06
  private static let statusHasList: UInt8 = 1 << 4
  private static let firstPointer = 0x34
  private static let headerByteCount = 0x40

  /// The ids in the list, in its order; nil where the bytes end before the list does, or loop.
  static func ids(in config: [UInt8]) -> [UInt8]? {
    guard config.count > firstPointer else { return nil }
    guard config[status] & statusHasList != 0 else { return [] }
    var ids: [UInt8] = []
    var offset = Int(config[firstPointer] & 0xFC)
    while offset != 0 {
      guard offset >= headerByteCount, offset + 1 < config.count, ids.count < countMax else {
        return nil
      }
      ids.append(config[offset])
      offset = Int(config[offset + 1] & 0xFC)
    }
    return ids
  }
}
