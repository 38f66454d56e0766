/// The rules behind what the device finds for its own safety: the watchdog need not look for these
/// a second time.
extension Violation.Reason {
  /// The rule that was broken; nil where it is none of virtio's, or where the watchdog itself
  /// tells several apart.
  func rule(packed: Bool) -> DriverRule? {
    switch self {
    case .availableIndexJumped: .availableIndex
    case .headOutOfRange, .nextOutOfRange: .shownBeforeWritten
    case .descriptorLoop, .chainTooManyBytes: .chainLength
    case .chainTooLong: packed ? .listLength : .chainLength
    case .indirectNotNegotiated, .indirectNested, .indirectWithNext, .indirectLengthInvalid:
      packed ? .indirectPacked : .indirect
    case .tableFlagsReserved: .indirectPacked
    case .readableAfterWritable: .readableFirst
    case .headerMissing, .statusMissing: .dataLength
    case .headInFlight, .ringUnmapped: packed ? .exposedPacked : .exposed
    case .bufferIDOutOfRange, .bufferIDInFlight, .listNotAvailable: .listMarks
    case .ringOverrun: .listLength
    case .eventSuppressionInvalid: .eventSuppression
    case .bufferUnmapped, .indirectUnmapped, .areaUnmapped: .untranslated
    case .registerAfterEnable, .queueDisabled: .afterEnable
    case .queueSizeInvalid: .queueSize
    case .areaMisaligned, .areasOverlap: .areaPlaces
    case .queueSelectOutOfRange: .absentQueue
    case .vectorOutOfRange: .vectorOutOfRange
    case .statusStepSkipped, .queueEnabledTooEarly: .statusOrder
    case .statusBitCleared, .statusBitReserved: .statusBits
    case .featuresAfterNegotiation: .lateFeatures
    case .kickOutOfRange, .kickWidth, .kickDataWrong, .kickValueWrong: .doorbell
    case .accessWhileSuspended: .whileSuspended
    case .queueResetInvalid: .queueReset
    case .registerAccess: .accessWidth
    case .configWindowInvalid: .configWindow
    case .readOnlyRegister: .readOnlyRegister
    case .featuresRefused, .kickBeforeDriverOK, .kickOfDisabledQueue, .kickWithoutBusMaster: nil
    }
  }
}
