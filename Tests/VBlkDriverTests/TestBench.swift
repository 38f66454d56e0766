import Synchronization
import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A small generator whose seed is printed when a test fails: xorshift64*.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

/// The formats of ring; a test under ``OnEachRing`` runs once on each.
enum RingFormat: String, CaseIterable, CustomTestStringConvertible, Sendable {
  case split, packedDirect, packedIndirect

  @TaskLocal static var current = RingFormat.split

  var testDescription: String { rawValue }

  func apply(to configuration: inout EmulatedDisk.Configuration) {
    if self != .split { configuration.extra.insert(.ringPacked) }
    if self == .packedDirect { configuration.withheld.insert(.indirectDescriptors) }
  }
}

/// Runs each test of a suite once on each ring format, unless it chooses its own.
struct OnEachRing: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func scopeProvider(for test: Test, testCase: Test.Case?) -> OnEachRing? {
    testCase == nil ? nil : self
  }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    for format in RingFormat.allCases {
      try await RingFormat.$current.withValue(format) { try await function() }
    }
  }
}

extension Trait where Self == OnEachRing {
  static var onEachRing: OnEachRing { OnEachRing() }
}

/// What the watchdog of a test's disk calls: the driver that is tested breaks no rule, whatever the
/// test does to it. A test that breaks rules itself, or makes the bus lie, switches it off.
@Sendable
func noBreach(_ breach: DriverBreach) { Issue.record("\(breach)") }

/// A device and its emulated disk, with the options that a test varies.
struct Bench {
  let disk: EmulatedDisk
  let device: Device

  /// Opens an emulated disk.
  ///
  /// - Parameters:
  ///   - bytes: Size of the memory store.
  ///   - change: Changes the emulated disk's configuration.
  ///   - edit: Changes the driver's options.
  /// - Throws: What opening the disk or the device throws.
  init(
    bytes: UInt64 = 1 << 20, disk change: (inout EmulatedDisk.Configuration) -> Void = { _ in },
    options edit: (inout DeviceOptions) -> Void = { _ in }
  ) throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: bytes))
    RingFormat.current.apply(to: &configuration)
    configuration.watchdog = true
    change(&configuration)
    var options = DeviceOptions()
    options.memoryByteCount = 4 << 20
    edit(&options)
    disk = try EmulatedDisk(configuration, onBreach: noBreach)
    device = try Device(disk.function, options: options)
  }

  /// A buffer of `count` bytes that hold `fill(offset)`.
  func buffer(_ count: Int, fill: (Int) -> UInt8 = { _ in 0xEE }) throws -> DMABuffer {
    var buffer = try device.memory.allocate(byteCount: count)
    buffer.withUnsafeMutableBytes { bytes in
      for index in bytes.indices { bytes[index] = fill(index) }
    }
    return buffer
  }
}

extension DMABuffer {
  /// A copy of the bytes in use.
  var contents: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension Queue {
  /// Polls until a completion comes; nil after a bounded number of polls.
  mutating func nextWithin(_ polls: Int = 100_000) -> Completion? {
    for _ in 0..<polls {
      if let done = next() { return done }
    }
    return nil
  }

  /// All slots free, nothing kept, no dio record in use, no bounce block out: what must hold when
  /// nothing is in flight.
  var isAtRest: Bool {
    let diosFree = dios.indices.allSatisfy { !dios[$0].isActive }
    let slotsFree = records.indices.allSatisfy {
      !records[$0].isOwned && !records[$0].isLent
    }
    return diosFree && slotsFree && state.keptCount == 0 && state.stalledCount == 0
      && state.lockHolders == 0 && pendingWork == (isInOrder ? 1 : 0) && freeCount == depth
      && memory.bounce.freeCount == memory.bounce.count
  }
}

extension EmulatedDisk {
  /// Takes every available request of queue 0 in stepped mode.
  func fetchAll() -> [RequestHandle] {
    var handles: [RequestHandle] = []
    while handles.count < 65_536, let handle = fetch(queue: 0) { handles.append(handle) }
    return handles
  }
}

/// All orders of `items`.
func permutations<T>(_ items: [T]) -> [[T]] {
  guard items.count > 1 else { return [items] }
  return items.indices.flatMap { index in
    var rest = items
    let first = rest.remove(at: index)
    return permutations(rest).map { [first] + $0 }
  }
}

/// That the suites under ``OnEachRing`` do run on each.
@Suite("Ring formats", .onEachRing)
struct RingFormatTests {
  private static let seen = Mutex<[RingFormat]>([])

  @Test("each format is the device's in its turn")
  func chosen() throws {
    let accepted = try Bench().device.info.accepted
    let format = RingFormat.current
    #expect(accepted.contains(.ringPacked) == (format != .split))
    #expect(accepted.contains(.indirectDescriptors) == (format != .packedDirect))
    let seen = Self.seen.withLock { seen in
      seen.append(format)
      return seen
    }
    if format == RingFormat.allCases.last { #expect(seen == RingFormat.allCases) }
  }
}
