/// Mistakes of a device against the specification, a switch a row of the device checklist: with one
/// on, the tests of its row fail (`make checklist`). They prove the tests, not drivers; for those
/// there is ``Hostility``, whose switches stand for rows that are not here.
public struct Defects: OptionSet, Hashable, Sendable {
  /// One bit a switch.
  public let rawValue: UInt64

  /// Wraps a set of switches.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  private static func bit(_ bit: UInt64) -> Defects { Defects(rawValue: 1 << bit) }

  // Configuration space and registers.

  /// Row 68: the device id is that of no block device.
  public static let identityWrong = bit(0)
  /// Row 71: high halves of 64-bit registers read 0.
  public static let highHalvesZero = bit(1)
  /// Row 72: a doorbell through the PCI_CFG window doesn't ring.
  public static let windowSilent = bit(2)
  /// Row 74: reading the interrupt status doesn't clear it.
  public static let interruptStatusKept = bit(3)
  /// Row 75: a vector that the function doesn't have is taken.
  public static let vectorsUnchecked = bit(4)
  /// Row 77: the generation never changes.
  public static let generationStuck = bit(5)
  /// Row 86: the configuration reads 0 before FEATURES_OK.
  public static let configurationLate = bit(6)
  /// Row 89: an unused byte isn't 0.
  public static let unusedSet = bit(7)
  /// Row 109: nobody is told of another capacity.
  public static let capacitySilent = bit(8)

  // Status and features.

  /// Row 82: requests are served before DRIVER_OK.
  public static let servesEarly = bit(9)
  /// Row 83: a queue breaks without NEEDS_RESET.
  public static let breaksSilently = bit(10)
  /// Row 85: any choice of features is agreed to.
  public static let choiceUnchecked = bit(11)
  /// Row 88: `writeback` stays 1 without FLUSH.
  public static let writebackKept = bit(12)

  /// Row 92: requests are served while suspended.
  public static let suspendIgnored = bit(27)

  // Requests.

  /// Row 90: RO is offered, and writes are done.
  public static let readOnlyIgnored = bit(13)
  /// Row 93: a header in several descriptors fails.
  public static let framingAssumed = bit(14)
  /// Row 94: what the device only reads is written.
  public static let readableWritten = bit(15)
  /// Row 95: WRITE on a table's owner breaks the queue.
  public static let tableWriteObeyed = bit(16)
  /// Row 100: completes in any order though IN_ORDER is negotiated.
  public static let orderIgnored = bit(17)
  /// Row 101: a table of any length is taken.
  public static let tableUnlimited = bit(18)
  /// Row 102: the status goes into the first byte of its descriptor.
  public static let statusFirstByte = bit(19)
  /// Row 103: unknown types succeed.
  public static let unknownSucceeds = bit(20)
  /// Row 104: ranges are checked one by one, when those before are done.
  public static let rangesOneByOne = bit(21)
  /// Row 105: a write-zeroes that may unmap does nothing.
  public static let unmapKeeps = bit(22)
  /// Row 106: write-through writes are not made durable.
  public static let neverThrough = bit(23)
  /// Row 107: a flush does nothing.
  public static let flushLies = bit(24)
  /// Row 108: the id is padded with blanks.
  public static let idPaddedWithBlanks = bit(25)
  /// Row 110: requests that were not negotiated are done.
  public static let negotiationIgnored = bit(26)

  // Zones.

  /// Row 91: the fields of zones are shown to a driver without ZONED.
  public static let zonedFieldsKept = bit(28)
  /// Row 111: the smaller last zone is left out.
  public static let lastZoneMissing = bit(29)
  /// Row 112: an append to a sequential-preferred zone is done.
  public static let appendsAnywhere = bit(30)
  /// Row 113: a write off the pointer is done.
  public static let pointerIgnored = bit(31)
  /// Row 114: any number of zones is open and active.
  public static let zoneLimitsIgnored = bit(32)
  /// Row 115: an append says where the zone begins.
  public static let appendPlaceWrong = bit(33)
  /// Row 116: a zone that is closed with nothing written is CLOSED, not EMPTY.
  public static let closesEmptyZones = bit(34)
  /// Row 117: a reset of all zones forgets the full ones.
  public static let resetAllKeepsFull = bit(35)
  /// Row 118: an erase of part of a zone resets it.
  public static let erasesParts = bit(36)
  /// Row 119: a report counts one zone more than it shows.
  public static let reportCountsMore = bit(37)

  /// The switches that act on requests.
  static let requests: Defects = [
    readOnlyIgnored, framingAssumed, readableWritten, tableWriteObeyed, orderIgnored,
    tableUnlimited, statusFirstByte, unknownSucceeds, rangesOneByOne, unmapKeeps, flushLies,
    negotiationIgnored,
  ]

  /// Each switch by its name.
  public static let names: [(name: String, defect: Defects)] = [
    ("identityWrong", identityWrong), ("highHalvesZero", highHalvesZero),
    ("windowSilent", windowSilent), ("interruptStatusKept", interruptStatusKept),
    ("vectorsUnchecked", vectorsUnchecked), ("generationStuck", generationStuck),
    ("configurationLate", configurationLate), ("unusedSet", unusedSet),
    ("capacitySilent", capacitySilent), ("servesEarly", servesEarly),
    ("breaksSilently", breaksSilently), ("choiceUnchecked", choiceUnchecked),
    ("writebackKept", writebackKept), ("readOnlyIgnored", readOnlyIgnored),
    ("framingAssumed", framingAssumed), ("readableWritten", readableWritten),
    ("tableWriteObeyed", tableWriteObeyed), ("orderIgnored", orderIgnored),
    ("tableUnlimited", tableUnlimited), ("statusFirstByte", statusFirstByte),
    ("unknownSucceeds", unknownSucceeds), ("rangesOneByOne", rangesOneByOne),
    ("unmapKeeps", unmapKeeps), ("neverThrough", neverThrough), ("flushLies", flushLies),
    ("idPaddedWithBlanks", idPaddedWithBlanks), ("negotiationIgnored", negotiationIgnored),
    ("suspendIgnored", suspendIgnored), ("zonedFieldsKept", zonedFieldsKept),
    ("lastZoneMissing", lastZoneMissing), ("appendsAnywhere", appendsAnywhere),
    ("pointerIgnored", pointerIgnored), ("zoneLimitsIgnored", zoneLimitsIgnored),
    ("appendPlaceWrong", appendPlaceWrong), ("closesEmptyZones", closesEmptyZones),
    ("resetAllKeepsFull", resetAllKeepsFull), ("erasesParts", erasesParts),
    ("reportCountsMore", reportCountsMore),
  ]
}
