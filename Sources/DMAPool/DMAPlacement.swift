/// Where one piece of memory lies for devices: its table of runs and what to map.
///
/// Invariants
/// 1. Every address in the table is a multiple of 4 KiB, or ``DMABlock/hole``.
/// 2. `runCount` runs cover the memory, and entry `runCount` is ``DMABlock/hole``.
/// 3. No address is 0, none chosen by us lies inside the memory's own virtual addresses, and none
///    is taken by another placement while this one lives.
@safe
final class DMAPlacement {
  /// How device addresses are chosen where they can be.
  enum Choice {
    /// By an arena's layout.
    case layout(RunLayout)
    /// One after the other, with holes at the 4 KiB pages that read true.
    case holes([Bool])
  }

  /// A stretch of memory that one call maps: contiguous for the processor and for the device.
  struct Stretch: Equatable, Sendable {
    /// Bytes from the start of the memory.
    var offset: Int
    /// Its size in bytes.
    var byteCount: Int
    /// The device's address of its first byte.
    var deviceAddress: UInt64
  }

  /// Device addresses of the runs, and a hole at the end; does not move.
  let addresses: UnsafePointer<UInt64>
  /// log2 of the bytes of a run.
  let runShift: UInt64
  /// Runs.
  let runCount: Int
  /// What to map: runs that are adjacent for the device too are one stretch.
  let stretches: [Stretch]
  /// Whether the addresses are physical.
  let isPhysical: Bool
  /// What this placement has taken of the device addresses.
  private let windows: [ClosedRange<UInt64>]

  deinit {
    for window in windows { DeviceAddressSpace.shared.free(window) }
    unsafe addresses.deallocate()
  }

  /// Bytes of a run.
  var runByteCount: Int { 1 << Int(runShift) }

  /// Copies the addresses of the runs; `window` is what was taken for them, nil if physical.
  init(
    _ runs: [UInt64], runShift: UInt64, byteCount: Int, window: ClosedRange<UInt64>?
  ) {
    let table = UnsafeMutablePointer<UInt64>.allocate(capacity: runs.count + 1)
    for (index, address) in runs.enumerated() {
      precondition(
        address == DMABlock.hole || address % UInt64(Limits.pageByteCount) == 0,
        "run \(index) at device address \(address) does not begin at a page")
      unsafe (table + index).initialize(to: address)
    }
    unsafe (table + runs.count).initialize(to: DMABlock.hole)
    unsafe addresses = UnsafePointer(table)
    self.runShift = runShift
    runCount = runs.count
    stretches = DMAPlacement.stretches(of: runs, run: 1 << Int(runShift), byteCount: byteCount)
    isPhysical = window == nil
    if let window {
      windows = [window]
    } else {
      windows = stretches.map { $0.deviceAddress...$0.deviceAddress + UInt64($0.byteCount - 1) }
      for window in windows { DeviceAddressSpace.shared.take(physical: window) }
    }
  }

  /// Adjacent runs together; the last one ends where the memory ends.
  private static func stretches(of runs: [UInt64], run: Int, byteCount: Int) -> [Stretch] {
    var result: [Stretch] = []
    for (index, address) in runs.enumerated() where address != DMABlock.hole {
      let offset = index * run
      let bytes = min(run, byteCount - offset)
      if let last = result.last, last.offset + last.byteCount == offset,
        last.deviceAddress + UInt64(last.byteCount) == address
      {
        result[result.count - 1].byteCount += bytes
      } else {
        result.append(Stretch(offset: offset, byteCount: bytes, deviceAddress: address))
      }
    }
    return result
  }
}

/// The ways to a placement.
extension DMAPlacement {
  /// Places `memory` so that `mapper` can take it.
  static func make(
    _ memory: Range<UInt>, _ choice: Choice, for mapper: any DMAMapper,
    subject: String
  ) throws(DMAError) -> DMAPlacement {
    let placement: DMAPlacement
    switch mapper.addressing {
    case .physical:
      placement = try physical(memory, subject: subject)
    case .translated(let ranges, let pageByteCount):
      placement = try translated(
        memory, choice, ranges: ranges, pageByteCount: pageByteCount, name: mapper.name,
        subject: subject)
    }
    try placement.check(mapper, memory, subject: subject)
    return placement
  }

  /// Runs of a huge page where the memory has its alignment, else of a small one.
  private static func physical(
    _ memory: Range<UInt>, subject: String
  ) throws(DMAError) -> DMAPlacement {
    let bits = Int(memory.lowerBound) | memory.count
    let isAligned = bits & (Limits.hugePageByteCount - 1) == 0
    let run = isAligned ? Limits.hugePageByteCount : Limits.pageByteCount
    let runs = try PhysicalPages.addresses(of: memory, runByteCount: run, subject: subject)
    return DMAPlacement(
      runs, runShift: UInt64(run.trailingZeroBitCount), byteCount: memory.count, window: nil)
  }

  private static func translated(
    _ memory: Range<UInt>, _ choice: Choice, ranges: [ClosedRange<UInt64>],
    pageByteCount: UInt64, name: String, subject: String
  ) throws(DMAError) -> DMAPlacement {
    let run: Int
    switch choice {
    case .layout(.contiguous): run = roundedUpToPowerOfTwo(memory.count)
    case .layout(.scattered(let runByteCount, _)): run = runByteCount
    case .holes: run = Limits.pageByteCount
    }
    let runCount = (memory.count + run - 1) / run
    var byteCount = UInt64(memory.count)
    // Every second run of a scattered window stays empty, so no two are adjacent.
    if case .layout(.scattered) = choice { byteCount = UInt64(runCount) * UInt64(run) * 2 }
    let start = UInt64(memory.lowerBound)
    guard
      let window = DeviceAddressSpace.shared.take(
        byteCount: byteCount, in: ranges, alignment: pageByteCount,
        avoiding: start...start + UInt64(memory.count - 1))
    else {
      throw DMAError(
        .mapRefused,
        "\(name) has no \(byteCount) bytes of free device addresses for \(subject) in "
          + describe(ranges), remedy: "detach other memory, or use a smaller arena")
    }
    var positions = Array(0..<UInt64(runCount))
    var isHole = [Bool](repeating: false, count: runCount)
    switch choice {
    case .layout(.contiguous): break
    case .layout(.scattered(_, let seed)):
      var generator = SeededGenerator(seed: seed)
      positions.shuffle(using: &generator)
      positions = positions.map { $0 * 2 }
    case .holes(let holes): isHole = holes
    }
    let runs = zip(positions, isHole).map { position, isHole in
      isHole ? DMABlock.hole : window.lowerBound + position * UInt64(run)
    }
    return DMAPlacement(
      runs, runShift: UInt64(run.trailingZeroBitCount), byteCount: memory.count, window: window)
  }

  /// Refuses a device that can't take these addresses, by name.
  func check(
    _ mapper: any DMAMapper, _ memory: Range<UInt>, subject: String
  ) throws(DMAError) {
    switch mapper.addressing {
    case .physical:
      guard isPhysical else {
        throw DMAError(
          .mapRefused,
          "\(mapper.name) uses physical addresses, and \(subject) has translated ones already",
          remedy: "attach \(mapper.name) first, or use another arena")
      }
    case .translated(let ranges, let pageByteCount):
      let page = pageByteCount - 1
      for stretch in stretches {
        let start = UInt64(memory.lowerBound) + UInt64(stretch.offset)
        let count = UInt64(stretch.byteCount)
        guard (start | count | stretch.deviceAddress) & page == 0 else {
          throw DMAError(
            .mapRefused,
            "\(mapper.name) maps in multiples of \(pageByteCount) bytes, and \(subject) has a run "
              + "of \(count) at \(hex(stretch.deviceAddress))",
            remedy: "use runs and pages of a multiple of that size")
        }
        guard ranges.contains(where: { $0.holds(stretch.deviceAddress, byteCount: count) }) else {
          throw DMAError(
            .mapRefused,
            "\(mapper.name) can't take \(count) bytes of \(subject) at device address "
              + "\(hex(stretch.deviceAddress)); it has \(describe(ranges))",
            remedy: "attach \(mapper.name) first, or use another arena")
        }
      }
    }
  }
}

/// As in 0x1000.
func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

private func describe(_ ranges: [ClosedRange<UInt64>]) -> String {
  ranges.map { "\(hex($0.lowerBound))-\(hex($0.upperBound))" }.joined(separator: ", ")
}

private func roundedUpToPowerOfTwo(_ value: Int) -> Int {
  1 << (Int.bitWidth - (value - 1).leadingZeroBitCount)
}

extension ClosedRange<UInt64> {
  /// Whether all of `byteCount` bytes, more than 0, from `address` on are in the range.
  fileprivate func holds(_ address: UInt64, byteCount: UInt64) -> Bool {
    contains(address) && upperBound - address >= byteCount - 1
  }
}
