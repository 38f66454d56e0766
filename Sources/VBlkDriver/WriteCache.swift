import Synchronization
import Virtio

/// What a device does with writes that it has completed (virtio 1.2, 5.2.5 and 5.2.6.2).
public enum WriteCache: Sendable {
  /// They may be lost with the power until a FLUSH.
  case writeBack
  /// They are on stable media.
  case writeThrough
}

/// The cache as the driver knows it, for every queue: one word that changes with each switch, so
/// that an operation can tell whether the mode was the same all the time.
///
/// The word is 0 for a cache that always was write-through. Bit 0 says that it is volatile; the
/// rest counts switches.
struct CacheState: ~Copyable {
  private let word: Atomic<UInt32>
  /// Whether the device lets the driver switch (CONFIG_WCE).
  let isSwitchable: Bool
  /// What the user chose, to be chosen again after a reset; 0 is nothing, else a mode.
  private let chosen = Atomic<UInt8>(0)

  init(isVolatile: Bool, isSwitchable: Bool) {
    word = Atomic(isVolatile ? 1 : 0)
    self.isSwitchable = isSwitchable
  }

  var current: UInt32 { word.load(ordering: .acquiring) }

  var mode: WriteCache { current & 1 == 1 ? .writeBack : .writeThrough }

  /// Whether there may be something to flush: also what was written before a switch (virtio 1.2,
  /// 5.2.6.1).
  var mayHoldWrites: Bool { current != 0 }

  /// Whether a write that was submitted at `start` and has completed is on stable media (virtio
  /// 1.2, 5.2.6.2): the mode was write-through all the time.
  func isStable(since start: UInt32) -> Bool { start & 1 == 0 && start == current }

  /// The device is in `mode` from here on.
  func set(_ mode: WriteCache) {
    let old = current
    let isVolatile: UInt32 = mode == .writeBack ? 1 : 0
    guard old & 1 != isVolatile else { return }
    word.store((old & ~1 &+ 2) | isVolatile, ordering: .releasing)
  }

  /// What the user chose, if anything.
  var choice: WriteCache? {
    get {
      switch chosen.load(ordering: .relaxed) {
      case 1: .writeBack
      case 2: .writeThrough
      default: nil
      }
    }
    nonmutating set {
      chosen.store(newValue == nil ? 0 : newValue == .writeBack ? 1 : 2, ordering: .relaxed)
    }
  }
}

extension Device {
  /// How the device keeps completed writes at present.
  public var writeCache: WriteCache { cache.mode }

  /// Switches the device's cache, also for after a reset (CONFIG_WCE; virtio 1.2, 5.2.5).
  ///
  /// Durable writes of all queues follow the mode. What was written before a switch to
  /// write-through is not on stable media by it: ``Queue/flush()`` still asks the device.
  ///
  /// - Parameter mode: The mode.
  /// - Throws: ``VBlkError`` `.unsupported` where the device can't switch; `.resetting`, `.removed`
  ///   or `.closed` where it doesn't run.
  public func setWriteCache(_ mode: WriteCache) throws(VBlkError) {
    guard cache.isSwitchable else {
      throw VBlkError(
        .unsupported,
        "\(info.name) can't switch its write cache: CONFIG_WCE was not agreed (virtio 1.2, 5.2.5)",
        remedy: "its cache is \(mode == writeCache ? "as asked for" : "fixed"); use durable writes")
    }
    let failure: VBlkError? = writingConfiguration.withLock { _ in
      guard phase.load(ordering: .acquiring) == Phase.running.rawValue else {
        return VBlkError(refusalCode, "\(info.name) doesn't run", remedy: "try again")
      }
      return choose(mode)
    }
    if let failure { throw failure }
    cache.choice = mode
  }

  /// Takes up what the user chose, or what the device does after its reset.
  func restoreWriteCache(_ agreed: Negotiation) throws(VBlkError) {
    guard let choice = cache.choice else {
      return cache.set(agreed.hasVolatileCache ? .writeBack : .writeThrough)
    }
    if let failure = choose(choice) { throw failure }
  }

  /// Writes `writeback` and reads it back; in the lock of the configuration, FEATURES_OK set.
  func choose(_ mode: WriteCache) -> VBlkError? {
    let value: UInt8 = mode == .writeBack ? 1 : 0
    // Volatile from before the switch, stable only after it: what is in between is volatile.
    if mode == .writeBack { cache.set(mode) }
    transport.writeConfigByte(BlockConfigLayout.writeback, value)
    let seen = transport.configField(BlockConfigLayout.writeback, width: 1)
    guard seen == UInt64(value) else {
      cache.set(.writeBack)
      return VBlkError(
        .deviceUnavailable, "\(info.name) was given writeback \(value) and shows \(seen)",
        remedy: "the device is faulty: it offered CONFIG_WCE")
    }
    cache.set(mode)
    return nil
  }
}
