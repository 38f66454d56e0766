internal import Virtio

/// What the sequence of register accesses says of a driver: who writes what before which step.
///
/// ```
/// 0 ── status reads 0 ── ACKNOWLEDGE ── DRIVER ── features ── FEATURES_OK ── status read again ──
///   queues (vectors read back) ── DRIVER_OK
/// ```
struct RegisterWatch {
  /// A broken rule and where.
  struct Finding {
    var rule: DriverRule
    var queue: Int?
    var position: UInt64
    var value: UInt64
  }

  /// 0 was written, and the status not yet read as 0.
  private var awaitsZero = false
  /// FEATURES_OK was written, and the status not yet read.
  private var isUnread = false
  /// FEATURES_OK was written and did not stay.
  private var isRefused = false
  private(set) var hasFailed = false
  private(set) var isNegotiated = false
  private var selected: UInt16 = 0
  /// Vector registers written and not read back: queues, and -1 for the configuration's.
  private var unreadVectors: Set<Int> = []
  /// Queues that a kick may still reach which was under way when the device was reset.
  private var excused: Set<Int> = []
  private var enabled: Set<Int> = []

  /// Whether a kick of a stopped device is one that was under way when it was reset; that happens
  /// once a queue.
  mutating func isExcused(kickOf queue: Int) -> Bool { excused.remove(queue) != nil }

  /// The width of a common register that is watched; 0 for others.
  static func width(of offset: UInt64) -> Int {
    switch offset {
    case CommonConfig.deviceStatus: 1
    case CommonConfig.driverFeature, CommonConfig.queueDescriptors..<CommonConfig.queueNotifyData:
      4
    case CommonConfig.configVector, CommonConfig.queueSelect..<CommonConfig.queueNotifyOffset: 2
    default: 0
    }
  }

  mutating func willWrite(
    _ offset: UInt64, _ value: UInt32, status: DeviceStatus, facts: Watchdog.Facts
  ) -> Finding? {
    func finding(_ rule: DriverRule) -> Finding {
      Finding(rule: rule, queue: nil, position: offset, value: UInt64(value))
    }
    switch offset {
    case CommonConfig.deviceStatus:
      return statusRule(DeviceStatus(rawValue: UInt8(truncatingIfNeeded: value)), status)
        .map(finding)
    case CommonConfig.queueSelect:
      selected = UInt16(truncatingIfNeeded: value)
      return nil
    case CommonConfig.driverFeature:
      if hasFailed { return finding(.afterFailure) }
      return status.isSuperset(of: [.acknowledge, .driver]) ? nil : finding(.statusOrder)
    case CommonConfig.configVector, CommonConfig.queueVector:
      unreadVectors.insert(offset == CommonConfig.configVector ? -1 : Int(selected))
      return setUpRule(status).map(finding)
    case CommonConfig.queueEnable:
      guard let rule = setUpRule(status) ?? enableRule(facts) else { return nil }
      return Finding(rule: rule, queue: Int(selected), position: offset, value: UInt64(value))
    case CommonConfig.queueSize, CommonConfig.queueDescriptors..<CommonConfig.queueNotifyData:
      return setUpRule(status).map(finding)
    default: return nil
    }
  }

  private mutating func statusRule(_ wanted: DeviceStatus, _ status: DeviceStatus) -> DriverRule? {
    if wanted.isEmpty { return nil }
    if awaitsZero {
      awaitsZero = false
      return .resetNotAwaited
    }
    if hasFailed, status != wanted { return .afterFailure }
    guard wanted.subtracting(status).contains(.driverOK) else { return nil }
    if unreadVectors.remove(-1) != nil { return .vectorUnread }
    return negotiationRule()
  }

  /// What a write to a queue's registers breaks at this point of the initialisation.
  private mutating func setUpRule(_ status: DeviceStatus) -> DriverRule? {
    if hasFailed { return .afterFailure }
    if let rule = negotiationRule() { return rule }
    return isNegotiated ? nil : .statusOrder
  }

  /// What going on breaks behind FEATURES_OK; each once.
  private mutating func negotiationRule() -> DriverRule? {
    defer {
      isUnread = false
      if isRefused { isNegotiated = true }
      isRefused = false
    }
    if isUnread { return .featuresUnread }
    return isRefused ? .goesOnRefused : nil
  }

  private mutating func enableRule(_ facts: Watchdog.Facts) -> DriverRule? {
    enabled.insert(Int(selected))
    if unreadVectors.remove(Int(selected)) != nil { return .vectorUnread }
    return Int(selected) < facts.queueCount && enabled.count > usable ? .tooManyQueues : nil
  }

  /// Queues that the driver may use: as many as it has negotiated.
  var usable = Int.max

  mutating func didWriteStatus(_ value: UInt32, now status: DeviceStatus) {
    let wanted = DeviceStatus(rawValue: UInt8(truncatingIfNeeded: value))
    guard !wanted.isEmpty else {
      restart()
      awaitsZero = true
      return
    }
    if wanted.contains(.failed) { hasFailed = true }
    if wanted.contains(.driverOK) { isRunning = true }
    if wanted.contains(.featuresOK), !isNegotiated {
      isUnread = true
      isNegotiated = status.contains(.featuresOK)
      isRefused = !isNegotiated
    }
  }

  private var isRunning = false

  /// The device is as at first, but for kicks that are under way.
  mutating func restart() {
    let running = isRunning ? enabled : []
    self = RegisterWatch()
    excused = running
  }

  mutating func didReadStatus(_ status: DeviceStatus) {
    if status.isEmpty { awaitsZero = false }
    isUnread = false
  }

  mutating func didReadVector(_ offset: UInt64) {
    unreadVectors.remove(offset == CommonConfig.configVector ? -1 : Int(selected))
  }

  mutating func didReadConfiguration(_ offset: Int, width: Int, offered: Features) -> Finding? {
    let field = Finding(rule: .gatedField, queue: nil, position: UInt64(offset), value: 0)
    let range = offset..<offset + width
    if range.contains(BlockConfigLayout.writeback), !isNegotiated {
      return Finding(
        rule: .earlyWritebackRead, queue: nil, position: UInt64(offset), value: 0)
    }
    let gates = Features.configurationFields
    let isGated = gates.contains { fields, feature in
      fields.overlaps(range) && !offered.contains(feature)
    }
    return isGated ? field : nil
  }
}

extension Features {
  /// The fields of the device configuration that are valid with a feature only (virtio 1.2, 5.2.4).
  fileprivate static let configurationFields: [(Range<Int>, Features)] = [
    (8..<12, .sizeMax), (12..<16, .segMax), (16..<20, .geometry), (20..<24, .blockSize),
    (24..<32, .topology), (32..<33, .configWriteCache), (34..<36, .multiQueue), (36..<48, .discard),
    (48..<57, .writeZeroes), (60..<72, .secureErase), (72..<93, .zoned),
  ]
}
