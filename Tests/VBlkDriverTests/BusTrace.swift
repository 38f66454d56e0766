import Virtio

/// A register of the emulated function: where it is, and the width of one access.
struct Register: Hashable, Sendable, CustomStringConvertible {
  let region: Int
  let offset: UInt64
  let width: Int

  init(region: Int = 0, _ offset: UInt64, width: Int) {
    self.region = region
    self.offset = offset
    self.width = width
  }

  var description: String { "\(region):0x\(String(offset, radix: 16))/\(width * 8)" }

  // The emulated function's layout: one BAR, common at 0, ISR, device configuration, doorbells.
  static let interruptStatusOffset: UInt64 = 0x1000
  static let configOffset: UInt64 = 0x2000
  static let notifyOffset: UInt64 = 0x3000

  static let deviceFeatureSelect = Register(CommonConfig.deviceFeatureSelect, width: 4)
  static let deviceFeature = Register(CommonConfig.deviceFeature, width: 4)
  static let driverFeatureSelect = Register(CommonConfig.driverFeatureSelect, width: 4)
  static let driverFeature = Register(CommonConfig.driverFeature, width: 4)
  static let configVector = Register(CommonConfig.configVector, width: 2)
  static let queueCount = Register(CommonConfig.queueCount, width: 2)
  static let status = Register(CommonConfig.deviceStatus, width: 1)
  static let generation = Register(CommonConfig.configGeneration, width: 1)
  static let queueSelect = Register(CommonConfig.queueSelect, width: 2)
  static let queueSize = Register(CommonConfig.queueSize, width: 2)
  static let queueVector = Register(CommonConfig.queueVector, width: 2)
  static let queueEnable = Register(CommonConfig.queueEnable, width: 2)
  static let queueNotifyOffset = Register(CommonConfig.queueNotifyOffset, width: 2)

  /// The halves of a 64-bit register, low half first.
  static func halves(_ offset: UInt64) -> (low: Register, high: Register) {
    (Register(offset, width: 4), Register(offset + 4, width: 4))
  }

  /// A field of the device configuration.
  static func config(_ offset: Int, width: Int) -> Register {
    Register(configOffset + UInt64(offset), width: width)
  }

  /// A queue's doorbell.
  static func doorbell(_ queue: Int) -> Register {
    Register(notifyOffset + 4 * UInt64(queue), width: 2)
  }

  var isCommon: Bool { region == 0 && offset < Register.interruptStatusOffset }
  var isConfig: Bool {
    region == 0 && (Register.configOffset..<Register.notifyOffset).contains(offset)
  }
  var isDoorbell: Bool { region == 0 && offset >= Register.notifyOffset }
}

/// What a driver did to its function, in order.
enum BusEvent: Equatable, Sendable {
  case load(Register, UInt32)
  case store(Register, UInt32)
  case configLoad(Int, width: Int, UInt32)
  case configStore(Int, width: Int, UInt32)
  case busMaster(Bool)
  case interrupt(Int)
  case map(UInt64, byteCount: Int)
  case unmap(UInt64, byteCount: Int)
  case reset
  case close

  /// The register and value of a store.
  var stored: (register: Register, value: UInt32)? {
    if case .store(let register, let value) = self { (register, value) } else { nil }
  }

  /// The register and value of a load.
  var loaded: (register: Register, value: UInt32)? {
    if case .load(let register, let value) = self { (register, value) } else { nil }
  }

  /// The register of a load or store.
  var register: Register? { stored?.register ?? loaded?.register }
}

extension [BusEvent] {
  /// The registers' loads and stores alone.
  var registers: [BusEvent] { filter { $0.register != nil } }

  /// Values stored in `register`, in order.
  func stores(_ register: Register) -> [UInt32] {
    compactMap { $0.stored?.register == register ? $0.stored?.value : nil }
  }

  /// Values loaded from `register`, in order.
  func loads(_ register: Register) -> [UInt32] {
    compactMap { $0.loaded?.register == register ? $0.loaded?.value : nil }
  }

  /// Where the first event that matches is.
  func first(_ event: BusEvent) -> Int? { firstIndex(of: event) }

  /// Nil where both lists are equal, else the first difference.
  func difference(from expected: [BusEvent]) -> String? {
    for index in 0..<Swift.max(count, expected.count) {
      let seen = index < count ? "\(self[index])" : "nothing"
      let wanted = index < expected.count ? "\(expected[index])" : "nothing"
      if seen != wanted { return "access \(index): \(seen), not \(wanted)" }
    }
    return nil
  }
}
