import Testing
import VBlkEmu
import Virtio

/// A generator of the tests' own, so that a seed replays a run.
struct TestRandom {
  var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
  mutating func below(_ bound: Int) -> Int { Int(next() >> 8) % bound }
  mutating func pick<T>(_ choices: [T]) -> T { choices[below(choices.count)] }
}

/// A driver that writes whatever comes to its mind, from a seed: the device names it and lives.
@Suite("fuzz") struct FuzzTests {
  /// One driver's life; what it broke goes into `reached`.
  func run(_ seed: UInt64, _ reached: inout Set<Violation.Reason>) throws {
    var random = TestRandom(seed)
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 16))
    configuration.queues = 2
    configuration.queueSize = 16
    let driver = try MiniDriver(configuration)
    driver.start(queues: 2, size: 16)
    let area = driver.allocate(1 << 16, 4096)
    for _ in 0..<80 {
      let queue = random.below(2)
      for _ in 0..<(1 + random.below(6)) { writeDescriptor(driver, queue, area, &random) }
      for _ in 0..<random.below(4) {
        driver.push(UInt16(random.below(random.below(10) == 0 ? 40 : 16)), queue: queue)
      }
      if random.below(40) == 0 {
        driver.rings[queue].availableIndex &+= UInt16(truncatingIfNeeded: random.next())
      }
      driver.publish(queue: queue)
      driver.ring(queue)
      if random.below(12) == 0 { pokeRegister(driver, &random) }
      if driver.status.contains(.needsReset) || random.below(30) == 0 {
        driver.rings = []
        try driver.function.reset()
        driver.start(queues: 2, size: 16)
      }
    }
    reached.formUnion(driver.reasons)
    driver.rings = []
    driver.start(queues: 2, size: 16)
    #expect(driver.perform(.flush, queue: 1)?.status == 0, "seed \(seed)")
  }

  /// A descriptor, in the ring or where a table may be, of words that are half right.
  func writeDescriptor(
    _ driver: MiniDriver, _ queue: Int, _ area: Int, _ random: inout TestRandom
  ) {
    let spot = random.pick([0, 16, 32, 48, 64, 512, 4096])
    let address = random.pick([
      driver.address(area + spot), driver.address(area + 4096 * random.below(16)),
      driver.address(driver.rings[queue].descriptors), UInt64(0), UInt64.max - 7,
      MiniDriver.base + UInt64(MiniDriver.memoryByteCount) - 8, random.next(),
    ])
    let length = random.pick(
      [0, 1, 8, 16, 16, 16, 32, 48, 512, 512, 4096, 513, 1 << 31, .max] as [UInt32])
    let flags = random.pick([0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 0xFFFF] as [UInt16])
    let next = UInt16(random.below(18))
    let place =
      random.below(3) == 0 ? area + spot : driver.rings[queue].descriptors + 16 * random.below(16)
    driver.writeDescriptor(at: place, address, length, flags, next)
    // Now and then the first words are those of a header.
    if random.below(4) == 0 {
      driver.store(area + spot, UInt32(random.pick([0, 1, 4, 8, 11, 13, 99])))
      driver.store(area + spot + 8, UInt64(random.below(140)))
    }
  }

  func pokeRegister(_ driver: MiniDriver, _ random: inout TestRandom) {
    let width = random.pick([1, 2, 4])
    let offset = random.pick([
      UInt64(random.below(0x48)), 0x1000, 0x2000 + UInt64(random.below(64)),
      0x3000 + UInt64(random.below(12)),
    ])
    let value = random.pick([0, 1, 2, 0xF, 0xFFFF, UInt32(truncatingIfNeeded: random.next())])
    driver.write(offset, width, value)
    _ = driver.read(offset, width)
  }

  @Test("a driver gone mad, 150 seeds") func mad() throws {
    var reached: Set<Violation.Reason> = []
    for seed: UInt64 in 1...150 { try run(seed, &reached) }
    let wanted: Set<Violation.Reason> = [
      .availableIndexJumped, .headOutOfRange, .nextOutOfRange, .descriptorLoop, .bufferUnmapped,
      .indirectNested, .indirectWithNext, .indirectLengthInvalid, .indirectUnmapped,
      .readableAfterWritable, .headerMissing, .statusMissing, .headInFlight, .registerAccess,
      .readOnlyRegister, .registerAfterEnable, .kickOutOfRange, .kickWidth,
    ]
    #expect(wanted.subtracting(reached).isEmpty, "never reached: \(wanted.subtracting(reached))")
  }
}
