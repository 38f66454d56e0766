/// A rule that the driver broke, named: what the device saw and what it did about it.
public struct Violation: Equatable, Sendable, CustomStringConvertible {
  /// What the device does about a broken rule.
  public enum Consequence: Sendable, Equatable {
    /// The queue takes nothing more; DEVICE_NEEDS_RESET is set and the driver told.
    case queueBroken
    /// The request ends with an error, or its head goes back with length 0.
    case requestFailed
    /// The access or step has no effect.
    case ignored
  }

  /// The rules, a case each. Numbers in brackets are rows of the hostile-driver table.
  public enum Reason: Sendable, Equatable, CaseIterable {
    // Rings.
    /// [1, 2] `avail.idx` moved by more than the ring's size, or backwards.
    case availableIndexJumped
    /// [3] A head is not less than the ring's size.
    case headOutOfRange
    /// [4] `next` is not less than the size of the ring or of the table.
    case nextOutOfRange
    /// [5] A chain runs in a circle.
    case descriptorLoop
    /// [6] A table, or a packed ring's list, has more descriptors than the device takes.
    case chainTooLong
    /// [7] A chain has more than 2^32 bytes.
    case chainTooManyBytes
    /// [8] A descriptor points outside the mapped memory.
    case bufferUnmapped
    /// [10] INDIRECT without the feature.
    case indirectNotNegotiated
    /// [11] INDIRECT inside a table.
    case indirectNested
    /// [12] INDIRECT together with NEXT, or (packed) behind another descriptor of its list.
    case indirectWithNext
    /// [13] A table of 0 bytes, or not a multiple of 16.
    case indirectLengthInvalid
    /// [14] A table outside the mapped memory.
    case indirectUnmapped
    /// [16] A device-readable descriptor after a device-writable one.
    case readableAfterWritable
    /// [17] Fewer than 16 readable bytes.
    case headerMissing
    /// [18] No writable byte for the status, or it can't be written.
    case statusMissing
    /// [25] A head made available again while in flight.
    case headInFlight
    /// [1] Packed: more descriptors made available than the ring has free ones.
    case ringOverrun
    /// [26] Packed: a buffer id is not less than the ring's size.
    case bufferIDOutOfRange
    /// [26] Packed: a buffer id made available again while in flight.
    case bufferIDInFlight
    /// Packed: a descriptor of a list, behind the first, is not available (virtio 1.2, 2.8.6).
    case listNotAvailable
    /// Packed: flags other than WRITE in a table.
    case tableFlagsReserved
    /// Packed: event flags 3, or a descriptor event without EVENT_IDX or outside the ring.
    case eventSuppressionInvalid
    /// [41] The rings were unmapped while the queue was enabled.
    case ringUnmapped

    // Set-up.
    /// [35] A queue register written after the queue was enabled.
    case registerAfterEnable
    /// [35] 0 written to `queue_enable`.
    case queueDisabled
    /// [35] A size that is 0, too large or (split) no power of two.
    case queueSizeInvalid
    /// [35] An area that is misaligned.
    case areaMisaligned
    /// [35] An area outside the mapped memory, or not one run in it.
    case areaUnmapped
    /// [35] Areas of one queue that overlap.
    case areasOverlap
    /// [35] A queue enabled before FEATURES_OK, which then chose the other ring format.
    case queueEnabledTooEarly
    /// `queue_reset` written without RING_RESET, or with another value than 1.
    case queueResetInvalid
    /// [36] A queue register with a `queue_select` that names no queue.
    case queueSelectOutOfRange
    /// [38] A vector that the function doesn't have.
    case vectorOutOfRange
    /// [39] A status step without the one before it.
    case statusStepSkipped
    /// [39] A status bit cleared other than by a reset.
    case statusBitCleared
    /// [39] A status bit that is not the driver's to set.
    case statusBitReserved
    /// [39] Features written after FEATURES_OK.
    case featuresAfterNegotiation
    /// Features that the device didn't offer, or can't do without.
    case featuresRefused

    // Doorbells and registers.
    /// [40] A kick before DRIVER_OK or after a failure.
    case kickBeforeDriverOK
    /// [40] A kick of a queue that isn't enabled.
    case kickOfDisabledQueue
    /// [40] A kick of a queue that doesn't exist, or through another queue's doorbell.
    case kickOutOfRange
    /// [40] A doorbell written with a width other than 16 bits, or than 32 with NOTIFICATION_DATA.
    case kickWidth
    /// NOTIFICATION_DATA names another place than the next that isn't available (virtio 1.2, 2.9).
    case kickDataWrong
    /// NOTIF_CONFIG_DATA: a value that is not the queue's (virtio 1.2, 4.1.5.2).
    case kickValueWrong
    /// A kick, or a write of the device configuration, while suspended (virtio 1.4, 2.1.2).
    case accessWhileSuspended
    /// A kick while bus mastering is off.
    case kickWithoutBusMaster
    /// [42] A register accessed with another width than its own, or where there is none.
    case registerAccess
    /// [42] A register or a configuration field written that the driver may only read.
    case readOnlyRegister
    /// [42] A PCI_CFG window that doesn't lie in a BAR.
    case configWindowInvalid
  }

  /// The rule.
  public let reason: Reason
  /// What the device did about it.
  public let consequence: Consequence
  /// The queue, where it was one's.
  public let queue: Int?
  /// Where: a head, an index or a register's offset.
  public let position: UInt64
  /// The value seen there.
  public let value: UInt64

  /// One line with the values in it.
  public var description: String {
    let place = queue.map { "queue \($0): " } ?? ""
    return "\(place)\(reason) at \(position), value \(value): \(consequence)"
  }
}

/// A DMA access that the emulated IOMMU refused.
public struct DMAFault: Equatable, Sendable {
  /// Who would have read or written.
  public enum Direction: Sendable, Equatable {
    /// The device reads memory.
    case deviceReads
    /// The device writes memory.
    case deviceWrites
  }
  /// First device address of the access.
  public let deviceAddress: UInt64
  /// Bytes of the access.
  public let byteCount: Int
  /// Whether the device read or wrote.
  public let direction: Direction
  /// The queue whose access it was.
  public let queue: Int
}

/// A data segment that the device moved, as the driver described it.
public struct DMATransfer: Equatable, Sendable {
  /// First device address.
  public let deviceAddress: UInt64
  /// Bytes.
  public let byteCount: Int
  /// Whether the device read or wrote.
  public let direction: DMAFault.Direction
  /// The raw type of the request.
  public let requestType: UInt32
  /// Which request of its queue it belongs to, counted from 0.
  public let request: UInt64
  /// The queue.
  public let queue: Int
}
