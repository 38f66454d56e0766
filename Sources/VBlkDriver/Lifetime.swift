/// How worn a device is, as its own storage counts it (virtio 1.2, 5.2.6; JESD84-B50).
public struct Lifetime: Equatable, Sendable {
  /// How much of the reserved blocks is used up.
  public enum ReservedBlocks: UInt16, Sendable, CaseIterable {
    /// Not said.
    case undefined
    /// Less than 80 %.
    case normal
    /// 80 % or more.
    case warning
    /// 90 % or more.
    case urgent
  }

  /// How much of a kind of cells' lifetime is used up.
  public enum Wear: Equatable, Sendable {
    /// Not said.
    case undefined
    /// At most this many percent: 10 to 100, in steps of 10.
    case upTo(percent: Int)
    /// All of it.
    case exceeded
  }

  /// How much of the reserved blocks is used up.
  public let reservedBlocks: ReservedBlocks
  /// Wear of cells of one bit (SLC).
  public let singleLevelCells: Wear
  /// Wear of cells of several bits (MLC).
  public let multiLevelCells: Wear

  /// Reads a GET_LIFETIME answer: three 16-bit numbers.
  init(_ answer: [UInt8], _ info: DeviceInfo) throws(VBlkError) {
    let values = stride(from: 0, to: answer.count - 1, by: 2).map {
      UInt16(answer[$0]) | UInt16(answer[$0 + 1]) << 8
    }
    guard values.count == 3, let reserved = ReservedBlocks(rawValue: values[0]),
      let single = Wear(values[1]), let multi = Wear(values[2])
    else {
      throw VBlkError(
        .protocolViolation,
        "\(info.name) answered GET_LIFETIME with the reserved values \(values) (virtio 1.2, 5.2.6)",
        remedy: "report the device; its lifetime can't be known")
    }
    reservedBlocks = reserved
    singleLevelCells = single
    multiLevelCells = multi
  }
}

extension Lifetime.Wear {
  /// An estimate as the wire has it: 0 undefined, 1 to 10 in tenths, 11 exceeded.
  fileprivate init?(_ value: UInt16) {
    switch value {
    case 0: self = .undefined
    case 1...10: self = .upTo(percent: Int(value) * 10)
    case 11: self = .exceeded
    default: return nil
    }
  }
}
