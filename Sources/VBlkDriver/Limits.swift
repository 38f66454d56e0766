/// Bounds of the driver, each with its unit and its reason.
@usableFromInline
enum Limits {
  /// Capabilities looked at in configuration space: 256 bytes hold no more than (256 - 64) / 4.
  static let capabilities = 48
  /// Reads of a configuration field before a device whose generation never rests is refused.
  static let configRetries = 64
  /// How long a device may take to read status 0 after a reset, in nanoseconds. Hardware takes
  /// milliseconds; a device that needs more is stuck.
  static let resetNanoseconds: UInt64 = 1_000_000_000
  /// How long an unswept queue may hold up the restart after a reset, in nanoseconds.
  static let sweepNanoseconds: UInt64 = 1_000_000_000
  /// Deadline of an operation unless the user says otherwise, in nanoseconds.
  static let deadlineNanoseconds: UInt64 = 30_000_000_000
  /// Most data segments of one bio: what Linux uses with a ring of 128 (126 and two more).
  static let segmentsPerBio = 126
  /// Bytes of indirect tables for vectored bios a queue may have; large rings get shorter tables.
  static let tableBytesPerQueue = 4 << 20
  /// Fewest data segments of one bio that a table has room for.
  static let fewestSegmentsPerBio = 8
  /// Bytes of one bio at most: a descriptor's length is 32 bits, and a used length counts the
  /// status byte too.
  static let bytesPerBio = 1 << 30
  /// Most ranges of one discard, write-zeroes or secure erase: what Linux asks for at the most.
  static let rangesPerBio = 256
  /// Bytes of a zone report that is asked for at once: 1,023 zones.
  static let zoneReportBytes = 64 << 10
  /// Bytes of a bounce block.
  static let bounceBlockBytes = 64 << 10
  /// Bounce blocks of a queue unless the user says otherwise.
  static let bounceBlocks = 8
  /// Events that a stream keeps for a listener that is late; older ones are lost to it.
  static let bufferedEvents = 64
  /// Bounds of how long an adaptive wait polls before it sleeps, in nanoseconds: from less than a
  /// sleep costs to as much as a fast disk takes for a request.
  static let shortestSpinNanoseconds: UInt64 = 5_000
  static let longestSpinNanoseconds: UInt64 = 200_000
  /// Looks of a waiting thread between two looks at the clock.
  static let spinsPerClock = 32
  /// Polls between two looks at the clock; a power of two.
  @inlinable static var pollsPerTick: UInt64 { 1024 }
  /// Nanoseconds between two rounds of the slow tick.
  static let tickNanoseconds: UInt64 = 10_000_000
  /// Rounds of the slow tick without progress, with work in flight, before the doorbell is rung
  /// again.
  static let ticksBeforeRekick = 10
  /// Requests whose lines are asked for ahead of a batch's reaping: as many misses as a processor
  /// has under way.
  static let prefetched: UInt16 = 32
  /// Spread dios of a group at once, unless the user says otherwise.
  static let spreadDios = 32
  /// Bytes of a part at least, unless the user says otherwise: less is not worth another thread.
  static let partBytes = 64 << 10
  /// Devices of a group: a spread dio has a bit for each.
  static let groupDevices = 64
  /// Rounds without work before a loop that waits for nothing sleeps, and between two yields.
  static let loopIdleRounds = 2048
  static let loopRoundsPerYield = 64
  /// Longest sleep of a loop: it looks by itself then, at deadlines and changes too.
  static let loopSleepMilliseconds: CInt = 100
  /// Subtracted from the free slots of a queue that must refuse: more than any ring has, so that
  /// deliveries can't reopen it.
  @usableFromInline static let closedOffset = 1 << 32
}
