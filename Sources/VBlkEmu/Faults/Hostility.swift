/// Ways in which a broken or hostile device misbehaves, a switch a row of the hostile-device table.
///
/// "Queue broken" means: the driver marks the queue unusable, ends what is in flight with an error
/// of its own, touches the ring no more, and offers a reset; it never traps, never loops, never
/// frees or completes twice.
///
/// | row | switch | what a correct driver must do |
/// |---|---|---|
/// | 1 | `usedIDOutOfRange` | queue broken |
/// | 2, 10 | `usedIDNotHead`, `usedIDDuplicate` | queue broken, no second completion |
/// | 3 | `usedIndexJumps` | queue broken, no loop beyond the ring; packed: end it by its deadline |
/// | 4 | `usedIndexGoesBack` | queue broken; packed: end it by its deadline |
/// | 5 | `usedLengthTooLong` | protocol violation; never a size of a copy |
/// | 6 | `usedLengthZero` (status not written) | fail the request |
/// | 7 | `statusOutOfRange`, `statusZoned` | fail the request |
/// | 8 | `usedLengthShort` | fail the read |
/// | – | `appendSectorWrong` (zoned) | queue broken |
/// | 9 | `scribblesDescriptors` | no effect: nothing is read back |
/// | 10 | `usedFlagsGarbage` (packed) | no effect: AVAIL and USED are right |
/// | 10 | `usedFlagsInconsistent` (packed) | not used: end it by its deadline |
/// | 12 | `suppressesKicks`, `availableEventGarbage` | kick again by its own clock |
/// | 13 | `neverNotifies` | poll, or time out |
/// | 14 | `notifiesTwice` | bounded work for a notification |
/// | 15 | `refusesFeatures`, `withoutVersion1` | stop: device unusable |
/// | 16 | `featuresChange`, `orphanedFeatures` | one snapshot; drop what hangs in the air |
/// | 17 | `resetNeverEnds` | bounded wait, then quarantine the memory |
/// | 17 | `queueResetNeverEnds` | bounded wait, then reset the device |
/// | 18 | `capabilityLoop`, `capabilityBarInvalid`, `capabilityOutsideBar`, `capabilityWraps`, |
/// |    | `capabilityTooShort`, `capabilityMissing` | skip or fail, no access |
/// | 19 | `notifyOffsetOutOfRange` | fail the queue |
/// | 20 | `queueSizeZero`, `queueSizeOdd`, `queueSizeHuge`, `queueSizeIgnored` | fail the queue |
/// | 21 | `queueCountZero`, `queueCountHuge` | fail or clamp |
/// | 22 | `capacityZero`, `capacityHuge` | no trap on the multiplication |
/// | 23 | `blockSizeZero`, `blockSizeOdd`, `blockSizeHuge`, `topologyAbsurd` | ignore or fail |
/// | 24 | `segMaxZero`, `sizeMaxTiny` | one segment; ignore or refuse |
/// | 25 | `discardLimitsZero` | no discard |
/// | 27 | `generationStorm` | bounded retries |
/// | 28 | `configInterruptStorm` | read the configuration once for many |
/// | 29 | `needsResetEarly` | the ordinary reset |
/// | 30 | `changesDataAfterCompletion` | copy before it parses, where it doesn't trust |
public struct Hostility: OptionSet, Hashable, Sendable {
  /// One bit a switch.
  public let rawValue: UInt64

  /// Wraps a set of switches.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  private static func bit(_ bit: UInt64) -> Hostility { Hostility(rawValue: 1 << bit) }

  // Completions.

  /// Row 1: a used id that is the ring's size plus the head.
  public static let usedIDOutOfRange = bit(0)
  /// Row 2: a used id that is the descriptor after the head; packed: one that is not in flight.
  public static let usedIDNotHead = bit(1)
  /// Row 2: each used entry twice.
  public static let usedIDDuplicate = bit(2)
  /// Row 3: the used index jumps by a ring and more; packed: a slot is left out.
  public static let usedIndexJumps = bit(3)
  /// Row 4: the used index goes back by one; packed: by two slots.
  public static let usedIndexGoesBack = bit(4)
  /// Row 5: a used length of 2^32 - 1.
  public static let usedLengthTooLong = bit(5)
  /// Row 6: no status is written, and the used length is 0.
  public static let usedLengthZero = bit(6)
  /// Row 7: status 0x77.
  public static let statusOutOfRange = bit(7)
  /// Row 7: status 5, which only a zoned device has.
  public static let statusZoned = bit(8)
  /// Row 8: status OK, but a used length of 1.
  public static let usedLengthShort = bit(9)
  /// Row 9: the descriptors of the chain are overwritten before the completion.
  public static let scribblesDescriptors = bit(10)
  /// Row 12: kicks are never wanted, though nobody polls.
  public static let suppressesKicks = bit(11)
  /// Row 12: `avail_event` and `used.flags`, or the device's event suppression, hold garbage.
  public static let availableEventGarbage = bit(12)
  /// Row 13: no notification, ever.
  public static let neverNotifies = bit(13)
  /// Row 14: a second, spurious notification with each.
  public static let notifiesTwice = bit(14)
  /// Row 30: the first data byte of a read changes after the completion.
  public static let changesDataAfterCompletion = bit(15)

  // Negotiation, status and configuration.

  /// Row 15: FEATURES_OK is never set.
  public static let refusesFeatures = bit(16)
  /// Row 15: VERSION_1 is not offered, and its absence accepted.
  public static let withoutVersion1 = bit(17)
  /// Row 16: each read of the offered features shows other bits.
  public static let featuresChange = bit(18)
  /// Row 16: CONFIG_WCE is offered without FLUSH.
  public static let orphanedFeatures = bit(19)
  /// Row 17: the status never reads 0.
  public static let resetNeverEnds = bit(20)
  /// Row 27: the generation changes with each read.
  public static let generationStorm = bit(21)
  /// Row 28: every doorbell raises a configuration interrupt.
  public static let configInterruptStorm = bit(22)
  /// Row 29: NEEDS_RESET appears with FEATURES_OK.
  public static let needsResetEarly = bit(23)

  // Capabilities; fixed when the disk is made.

  /// Row 18: the last capability points to the first.
  public static let capabilityLoop = bit(24)
  /// Row 18: the common configuration is said to be in BAR 7.
  public static let capabilityBarInvalid = bit(25)
  /// Row 18: the device configuration begins beyond its BAR.
  public static let capabilityOutsideBar = bit(26)
  /// Row 18: offset + length of the notification area wraps at 2^32.
  public static let capabilityWraps = bit(27)
  /// Row 18: the common configuration's capability says 8 bytes of itself and of its structure.
  public static let capabilityTooShort = bit(28)
  /// Row 18: there is no notification capability.
  public static let capabilityMissing = bit(29)

  // Queue registers.

  /// Row 19: `queue_notify_off` is 0xFFF0.
  public static let notifyOffsetOutOfRange = bit(30)
  /// Row 20: `queue_size` reads 0.
  public static let queueSizeZero = bit(31)
  /// Row 20: `queue_size` reads one less than a power of two.
  public static let queueSizeOdd = bit(32)
  /// Row 20: `queue_size` reads 65,535.
  public static let queueSizeHuge = bit(33)
  /// Row 20: `queue_size` keeps its value whatever is written.
  public static let queueSizeIgnored = bit(34)

  // Configuration fields.

  /// Row 21: `num_queues` reads 0.
  public static let queueCountZero = bit(35)
  /// Row 21: `num_queues` reads 65,535.
  public static let queueCountHuge = bit(36)
  /// Row 22: the capacity reads 0.
  public static let capacityZero = bit(37)
  /// Row 22: the capacity reads 2^64 - 1 sectors.
  public static let capacityHuge = bit(38)
  /// Row 23: `blk_size` reads 0.
  public static let blockSizeZero = bit(39)
  /// Row 23: `blk_size` reads 513.
  public static let blockSizeOdd = bit(40)
  /// Row 23: `blk_size` reads 2^31.
  public static let blockSizeHuge = bit(41)
  /// Row 23: `physical_block_exp` 255, `min_io_size` 65,535, `opt_io_size` 2^32 - 1.
  public static let topologyAbsurd = bit(42)
  /// Row 24: `seg_max` reads 0.
  public static let segMaxZero = bit(43)
  /// Row 24: `size_max` reads 1.
  public static let sizeMaxTiny = bit(44)
  /// Row 25: all limits of discard and write-zeroes read 0.
  public static let discardLimitsZero = bit(45)

  // Packed rings.

  /// Row 10: the flags of used descriptors that mean nothing are turned over.
  public static let usedFlagsGarbage = bit(46)
  /// Row 10: USED is not what AVAIL is, so the descriptor is not a used one.
  public static let usedFlagsInconsistent = bit(47)

  // RING_RESET.

  /// Row 17: `queue_reset` reads 1 for ever.
  public static let queueResetNeverEnds = bit(48)

  // Zones.

  /// An append says that it went into the next zone.
  public static let appendSectorWrong = bit(49)

  /// The switches that act on rings and completions.
  static let ring = Hostility(rawValue: 0xFFFF).union(
    [.configInterruptStorm, .usedFlagsGarbage, .usedFlagsInconsistent])
  /// Every switch.
  public static let all: [Hostility] = (0..<50).map { bit($0) }
}
