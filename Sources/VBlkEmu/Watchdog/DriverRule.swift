/// A rule that the specification lays on drivers and that a device can see broken, or not.
public struct DriverRule: Hashable, Sendable, CustomStringConvertible {
  /// Its row of the checklist, 1-67 (`make checklist`).
  public let row: Int
  /// The clause of virtio 1.2 that it stands in.
  public let clause: String
  /// What a driver does, or never does.
  public let text: String

  private init(_ row: Int, _ clause: String, _ text: String) {
    self.row = row
    self.clause = clause
    self.text = text
  }

  /// One line: row, clause, rule.
  public var description: String { "row \(row) (virtio 1.2, \(clause)): \(text)" }

  // Capabilities and registers.
  static let capabilityWritten = DriverRule(
    6, "4.1.4.1", "of capabilities only the fields of PCI_CFG are written")
  static let configWindow = DriverRule(
    7, "4.1.4.9.1", "the PCI_CFG window is 1, 2 or 4 bytes, aligned, inside a BAR")
  static let accessWidth = DriverRule(
    8, "4.1.3.1", "each register is accessed where it is and at its own width")
  static let readOnlyRegister = DriverRule(
    38, "4.1.4.3.2", "what only the device may change is not written")

  // Status and features.
  static let statusOrder = DriverRule(
    10, "3.1.1", "reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues, DRIVER_OK, in order")
  static let featuresUnread = DriverRule(
    10, "3.1.1", "after FEATURES_OK the status is read again before anything else")
  static let resetNotAwaited = DriverRule(
    11, "4.1.4.3.2", "after a write of 0 the status is read until it is 0")
  static let statusBits = DriverRule(
    12, "2.1.1", "a driver sets its own status bits and clears none")
  static let goesOnRefused = DriverRule(
    13, "3.1.1", "where FEATURES_OK reads back clear, the device is not used")
  static let lateFeatures = DriverRule(14, "3.1.1", "no feature is accepted after FEATURES_OK")
  static let earlyConfigWrite = DriverRule(
    15, "3.1.1", "the configuration is not written before FEATURES_OK")
  static let earlyWritebackRead = DriverRule(
    16, "5.2.5.1", "writeback is not read before FEATURES_OK")
  static let earlyKick = DriverRule(17, "3.1.1", "no notification before DRIVER_OK")
  static let afterFailure = DriverRule(18, "2.1.1", "after FAILED a device is reset, or left alone")
  static let notOffered = DriverRule(20, "2.2.1", "what is not offered is not accepted")
  static let unknownFeature = DriverRule(
    21, "2.2.1", "bits that mean nothing to a block device are not accepted")
  static let withoutVersion1 = DriverRule(22, "6.1", "VERSION_1 is accepted where it is offered")
  static let untranslated = DriverRule(
    23, "6.1", "addresses are those that the platform translates")
  static let singleRootIOV = DriverRule(
    25, "6.1", "SR_IOV is accepted only from a function with that capability")
  static let gatedField = DriverRule(
    27, "2.5.1", "a field is read only where the feature that gates it is offered")

  static let whileSuspended = DriverRule(
    32, "2.1.2 of 1.4", "a suspended device is neither notified nor configured")

  // Queue set-up.
  static let absentQueue = DriverRule(33, "4.1.5.1.3", "a queue that is not there is not set up")
  static let queueSize = DriverRule(
    34, "4.1.4.3.2", "a size is a power of two (split), not 0, not more than the device's")
  static let queueIncomplete = DriverRule(
    35, "4.1.4.3.2", "all of a queue is written before it is enabled, and it is used after that")
  static let afterEnable = DriverRule(
    35, "4.1.4.3.2", "an enabled queue's registers are left alone; 0 is never written to it")
  static let areaPlaces = DriverRule(36, "2.7", "a queue's areas are aligned and apart")
  static let areasNotZero = DriverRule(36, "4.1.5.1.3", "a queue's areas are zero when enabled")
  static let usedFlags = DriverRule(37, "2.7.10.1", "used.flags is 0 when the ring is handed over")
  static let vectorOutOfRange = DriverRule(
    39, "4.1.5.1.2.2", "vectors are those that the function has")
  static let vectorUnread = DriverRule(39, "4.1.5.1.2.2", "a vector that was written is read back")
  static let queueReset = DriverRule(
    41, "2.6.1", "queue_reset is written with 1, where RING_RESET was negotiated")
  static let tooManyQueues = DriverRule(
    42, "5.2.5", "no more queues than num_queues, and one without MQ")

  // Split rings.
  static let availableIndex = DriverRule(
    43, "2.7.6.1", "avail.idx goes on, and by no more than the ring holds")
  static let exposed = DriverRule(
    43, "2.7.13.3", "what the device was shown stays as it is until it is used")
  static let chainLength = DriverRule(
    44, "2.7.5.1", "a chain has an end, is no longer than its ring and than 2^32 bytes")
  static let readableFirst = DriverRule(
    45, "2.7.4.2", "what the device reads stands before what it writes")
  static let indirect = DriverRule(
    46, "2.7.5.3.1", "INDIRECT where negotiated, outside tables, without NEXT, of whole entries")
  static let shownBeforeWritten = DriverRule(
    47, "2.7.13.3.1", "entry and chain are there before avail.idx shows them")
  static let availableFlags = DriverRule(
    49, "2.7.7.1", "avail.flags is 0 with EVENT_IDX, else 0 or 1")
  static let inOrder = DriverRule(
    52, "2.7.9", "with IN_ORDER descriptors are taken in ring order, tables entry by entry")

  // Packed rings.
  static let listMarks = DriverRule(
    53, "2.8.6", "each descriptor of a list is available in its turn, the last has a free id")
  static let listLength = DriverRule(54, "2.8.6", "a list fits into what is free of the ring")
  static let exposedPacked = DriverRule(
    55, "2.8.6", "what the device was shown stays as it is until it is used")
  static let indirectPacked = DriverRule(
    55, "2.8.7", "INDIRECT where negotiated, in a list of its own; in a table WRITE only")
  static let eventSuppression = DriverRule(
    56, "2.8.10", "event suppression is enable, disable, or a place in the ring")

  // Notifications and requests.
  static let doorbell = DriverRule(
    57, "4.1.5.2", "a notification is the queue's value at its address, in the agreed width")
  static let beyondCapacity = DriverRule(58, "5.2.6.1", "no request reaches beyond the capacity")
  static let dataLength = DriverRule(
    59, "5.2.6.1", "sectors of 512 bytes, ranges of 16, an id of 20, header and status")
  static let ranges = DriverRule(
    60, "5.2.6.1", "ranges are as many and as long as allowed; only write-zeroes unmaps")
  static let segments = DriverRule(
    64, "5.2.4", "a request has at most seg_max segments of at most size_max bytes")
  static let zoned = DriverRule(
    65, "5.2.6.1 of 1.3", "zones are named by their first sector, data is whole granules")

  /// Every rule, by row.
  public static let all: [DriverRule] = [
    capabilityWritten, configWindow, accessWidth, statusOrder, featuresUnread, resetNotAwaited,
    statusBits, goesOnRefused, lateFeatures, earlyConfigWrite, earlyWritebackRead, earlyKick,
    afterFailure, notOffered, unknownFeature, withoutVersion1, untranslated,
    singleRootIOV, gatedField, whileSuspended, queueReset, absentQueue, queueSize, queueIncomplete,
    afterEnable, areaPlaces,
    areasNotZero, usedFlags, readOnlyRegister, vectorOutOfRange, vectorUnread, tooManyQueues,
    availableIndex, exposed, chainLength, readableFirst, indirect, shownBeforeWritten,
    availableFlags, inOrder, listMarks, listLength, exposedPacked, indirectPacked,
    eventSuppression, doorbell, beyondCapacity, dataLength, ranges, segments,
    zoned,
  ]
}

/// A rule that a driver broke: which, where, and what was seen there.
public struct DriverBreach: Equatable, Sendable, CustomStringConvertible {
  /// The rule.
  public let rule: DriverRule
  /// The queue, where it was one's.
  public let queue: Int?
  /// Where: a head, an index or a register's offset.
  public let position: UInt64
  /// The value seen there.
  public let value: UInt64

  /// One line: the rule and the values.
  public var description: String {
    let place = queue.map { "queue \($0), " } ?? ""
    let hex = "0x" + String(value, radix: 16)
    return "\(rule); seen: \(place)at 0x\(String(position, radix: 16)), \(hex)"
  }
}
