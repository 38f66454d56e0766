/// Reads the options of a device string, one at a time.
struct OptionParser {
  /// The longest serial that GET_ID can carry.
  static let serialByteCountMax = 20
  /// The most queues that a device can have: the spec's num_queues is 16 bits.
  static let queueCountMax = 65_535
  /// The largest split ring (2.7: queue size is at most 32,768).
  static let queueSizeMax = 32_768
  /// The largest block that the emulator offers; the smallest is a sector.
  static let blockByteCountMax = 65_536

  /// Options that make sense for real and emulated devices alike.
  private static let common: Set<String> = ["queues", "queue-size", "read-only"]
  private static let emulated: Set<String> = [
    "blk-size", "seg-max", "size-max", "serial", "null", "threaded", "packed", "watchdog",
  ]

  let isEmulated: Bool
  private(set) var options = AddressOptions()
  private var seen: Set<String> = []
  /// Features that were turned on in so many words.
  private var wanted: Set<AddressOptions.Feature> = []
  private var queueSizeText: String?

  init(isEmulated: Bool) { self.isEmulated = isEmulated }

  /// The names that are allowed here, for messages.
  var allowedNames: String {
    let zoned = ZonedOptions.names
    let names = isEmulated ? Self.common.union(Self.emulated).union(zoned) : Self.common
    let features = AddressOptions.Feature.allCases
    func list(_ isOnRequest: Bool) -> String {
      features.filter { $0.isOnRequest == isOnRequest }.map(\.rawValue).joined(separator: ", ")
    }
    let switches = isEmulated ? ", \(list(true)), and NAME=off for \(list(false))" : ""
    return names.sorted().joined(separator: ", ") + switches
  }

  /// Takes one option: "name" or "name=value".
  mutating func take(_ option: String) throws(AddressError) {
    let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    let value = parts.count == 2 ? String(parts[1]) : nil
    guard seen.insert(name).inserted else {
      throw AddressError(
        "option \"\(name)\" is given twice", allowed: "each may be given once",
        remedy: "leave one out")
    }
    let isNumber = Self.emulated.contains(name) && value != "off"
    if isEmulated, !isNumber, let feature = AddressOptions.Feature(rawValue: name) {
      // What is offered in any case is only ever taken off.
      guard try flag(name, feature.isOnRequest ? value : value ?? "") else {
        options.featuresOff.insert(feature)
        return
      }
      wanted.insert(feature)
      if feature.isOnRequest { options.featuresOn.insert(feature) }
      return
    }
    if isEmulated, try options.zoned.take(name, value) { return }
    guard Self.common.contains(name) || (isEmulated && Self.emulated.contains(name)) else {
      let isElsewhere =
        Self.emulated.contains(name) || ZonedOptions.names.contains(name)
        || AddressOptions.Feature(rawValue: name) != nil
      throw AddressError(
        "option \"\(name)\" is \(isElsewhere ? "for emu: devices only" : "unknown")",
        allowed: "allowed are \(allowedNames)", remedy: "leave \"\(option)\" out or correct it")
    }
    try set(name, value)
  }

  /// What is known only when all options are: a packed ring may have any size.
  mutating func finish() throws(AddressError) {
    if wanted.contains(.cacheControl), options.featuresOff.contains(.flush) {
      throw AddressError(
        "config-wce=on with flush=off: CONFIG_WCE is void without FLUSH (virtio 1.2, 5.2.3.1)",
        allowed: "allowed is config-wce with flush", remedy: "leave one of the two out")
    }
    guard let queueSizeText else { return }
    let range = 1...Self.queueSizeMax
    options.queueSize =
      options.isPacked
      ? try number("queue-size", queueSizeText, range)
      : try powerOfTwo("queue-size", queueSizeText, range)
  }

  private mutating func set(_ name: String, _ value: String?) throws(AddressError) {
    switch name {
    case "queues": options.queues = try number(name, value, 1...Self.queueCountMax)
    case "queue-size": queueSizeText = value ?? ""
    case "blk-size":
      options.blockByteCount = try powerOfTwo(name, value, 512...Self.blockByteCountMax)
    case "seg-max": options.segmentsMax = try number(name, value, 1...Int(Int32.max))
    case "size-max": options.segmentByteCountMax = try number(name, value, 0...Int(Int32.max))
    case "serial": options.serial = try serial(value)
    case "read-only": options.isReadOnly = try flag(name, value)
    case "null": options.isNull = try flag(name, value)
    case "threaded": options.isThreaded = try flag(name, value)
    case "packed": options.isPacked = try flag(name, value)
    case "watchdog": options.isWatched = try flag(name, value)
    default: preconditionFailure("an allowed option without a case: \(name)")
    }
  }

  private func number(
    _ name: String, _ value: String?, _ range: ClosedRange<Int>
  ) throws(AddressError) -> Int {
    guard let value, let bytes = try? ByteSize.parse(value), let number = Int(exactly: bytes),
      range.contains(number)
    else {
      throw AddressError(
        "option \(name) has the value \"\(value ?? "")\"",
        allowed: "allowed is a number from \(range.lowerBound) to \(range.upperBound)",
        remedy: "write \(name)=N")
    }
    return number
  }

  private func powerOfTwo(
    _ name: String, _ value: String?, _ range: ClosedRange<Int>
  ) throws(AddressError) -> Int {
    guard let number = try? number(name, value, range), number.nonzeroBitCount == 1 else {
      throw AddressError(
        "option \(name) has the value \"\(value ?? "")\"",
        allowed: "allowed is a power of two from \(range.lowerBound) to \(range.upperBound)",
        remedy: "write for example \(name)=\(max(range.lowerBound, min(256, range.upperBound)))")
    }
    return number
  }

  private func flag(_ name: String, _ value: String?) throws(AddressError) -> Bool {
    switch value {
    case nil, "on": return true
    case "off": return false
    default:
      throw AddressError(
        "option \(name) has the value \"\(value ?? "")\"", allowed: "allowed are on and off",
        remedy: "write \(name)=off")
    }
  }

  private func serial(_ value: String?) throws(AddressError) -> String {
    guard let value, (1...Self.serialByteCountMax).contains(value.utf8.count) else {
      throw AddressError(
        "option serial has \(value?.utf8.count ?? 0) bytes",
        allowed: "allowed are 1 to \(Self.serialByteCountMax)", remedy: "write serial=TEXT")
    }
    return value
  }
}
