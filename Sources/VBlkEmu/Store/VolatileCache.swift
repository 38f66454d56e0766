internal import Glibc
internal import Synchronization

/// The volatile cache of a disk: every write since the last flush, with what it covered, so that a
/// power cut can take it back (virtio 1.2, 5.2.6.2).
///
/// The store always shows what a running disk shows. The log says how to get from there to what may
/// be on stable media:
/// ```
/// store = durable + log[0] + log[1] + … in the order in which they were done
/// power cut: undo all of it from the last to the first, then redo what survives
/// ```
/// Invariants
/// 1. An entry's `before` is what the store held when it was written: undoing the log backwards
///    gives the durable contents.
/// 2. A flush empties the log: all writes that had completed are durable then, and so may be
///    those that had not.
/// 3. The log holds at most `limit` bytes; what is older is durable, as if the disk had written it
///    back by itself.
final class VolatileCache: Sendable {
  /// One write.
  private struct Entry {
    let offset: UInt64
    let before: [UInt8]
    let after: [UInt8]
  }

  private struct Log {
    var entries: [Entry] = []
    /// Entries at the front that are durable already.
    var durable = 0
    var byteCount = 0
  }

  private let log = Mutex(Log())
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// Does a write of `count` bytes at `offset` by `body`, which returns an errno, and logs it.
  ///
  /// - Returns: An errno, 0 for none.
  func write(
    _ count: Int, at offset: UInt64, in store: Store, _ body: () -> CInt
  ) -> CInt {
    guard count > 0 else { return body() }
    return log.withLock { log in
      // Too large to be remembered: it goes to stable media with all that came before.
      guard count <= limit / 2 else {
        log = Log()
        return body()
      }
      let (before, failure) = Self.read(store, count, at: offset)
      guard failure == 0 else { return failure }
      let error = body()
      let (after, second) = Self.read(store, count, at: offset)
      guard second == 0 else { return second }
      // Also a write that failed may have changed something.
      log.entries.append(Entry(offset: offset, before: before, after: after))
      log.byteCount += 2 * count
      while log.byteCount > limit, log.durable < log.entries.count {
        log.byteCount -= 2 * log.entries[log.durable].after.count
        log.durable += 1
      }
      if log.durable > log.entries.count / 2 {
        log.entries.removeFirst(log.durable)
        log.durable = 0
      }
      return error
    }
  }

  /// Everything written so far is durable.
  func flush() { log.withLock { $0 = Log() } }

  /// Writes that a power cut could lose.
  var count: Int { log.withLock { $0.entries.count - $0.durable } }

  /// Cuts the power: the store becomes what is on stable media.
  ///
  /// - Returns: An errno, 0 for none.
  func cut(_ loss: PowerLoss, _ store: Store) -> CInt {
    log.withLock { log in
      let entries = Array(log.entries[log.durable...])
      log = Log()
      for entry in entries.reversed() {
        let error = Self.write(store, entry.before[...], at: entry.offset)
        if error != 0 { return error }
      }
      var loss = Survival(loss, writes: entries.count)
      for entry in entries {
        let keepsWhole = loss.keepsNext()
        for start in stride(from: 0, to: entry.after.count, by: loss.unit(entry.after.count)) {
          let end = min(start + loss.unit(entry.after.count), entry.after.count)
          guard keepsWhole ?? loss.keepsUnit() else { continue }
          let error = Self.write(store, entry.after[start..<end], at: entry.offset + UInt64(start))
          if error != 0 { return error }
        }
      }
      return 0
    }
  }

  private static func read(
    _ store: Store, _ count: Int, at offset: UInt64
  ) -> (bytes: [UInt8], error: CInt) {
    var bytes = [UInt8](repeating: 0, count: count)
    let error = unsafe bytes.withUnsafeMutableBytes { memory in
      guard let base = memory.baseAddress else { return EIO as CInt }
      return unsafe store.read(base, count, at: offset)
    }
    return (bytes, error)
  }

  private static func write(
    _ store: Store, _ bytes: ArraySlice<UInt8>, at offset: UInt64
  ) -> CInt {
    unsafe bytes.withUnsafeBytes { memory in
      guard let base = memory.baseAddress else { return 0 }
      return unsafe store.write(
        UnsafeMutableRawPointer(mutating: base), memory.count, at: offset)
    }
  }
}

/// What a power cut leaves of the writes that no flush has covered.
public enum PowerLoss: Equatable, Sendable {
  /// None of them.
  case losesAll
  /// All of them.
  case losesNothing
  /// Those before a random one.
  case keepsPrefix(seed: UInt64)
  /// Each of them or not, at random: the cache was written back in any order.
  case keepsSome(seed: UInt64)
  /// Each sector of them or not, at random: writes are torn between sectors of 512 bytes.
  case tears(seed: UInt64)
}

/// The decisions of a power cut, one write after the other.
private struct Survival {
  private let loss: PowerLoss
  private var random: SeededRandom
  private var prefix: Int

  init(_ loss: PowerLoss, writes: Int) {
    self.loss = loss
    switch loss {
    case .losesAll, .losesNothing: random = SeededRandom(seed: 0)
    case .keepsPrefix(let seed), .keepsSome(let seed), .tears(let seed):
      random = SeededRandom(seed: seed)
    }
    prefix = 0
    if case .keepsPrefix = loss { prefix = random.next(below: writes + 1) }
  }

  /// Whether the next write survives whole, or not at all; nil where each unit has its own fate.
  mutating func keepsNext() -> Bool? {
    switch loss {
    case .losesAll: return false
    case .losesNothing: return true
    case .keepsSome: return random.next() & 1 == 0
    case .tears: return nil
    case .keepsPrefix:
      prefix -= 1
      return prefix >= 0
    }
  }

  mutating func keepsUnit() -> Bool { random.next() >> 7 & 1 == 0 }

  /// Bytes that have one fate.
  func unit(_ byteCount: Int) -> Int {
    if case .tears = loss { 512 } else { max(byteCount, 1) }
  }
}
