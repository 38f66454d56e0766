import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// What the driver must do with configuration space and capabilities: rows 1-9 of the driver
/// checklist (virtio 1.2, 4.1). Rows are those of facts/virtio.md, 1a.
///
/// Rows 7 and 9 are about the PCI_CFG window and VENDOR capabilities, which this driver never uses:
/// checked is that it writes nothing to configuration space, so that no window ever moves.
@Suite("Driver rules: PCI capabilities")
struct CapabilityRuleTests {
  /// Configuration space of an emulated disk: where each virtio capability starts, and the end of
  /// the list.
  struct Space {
    var starts: [UInt8: Int] = [:]
    var lastLink = 0x34

    init() throws {
      let disk = try EmulatedDisk(EmulatedDisk.Configuration(.memory(byteCount: 1 << 20)))
      let function = disk.function
      var offset = Int(try function.readConfig(at: 0x34, width: 1))
      for _ in 0..<48 where offset != 0 {
        let head = try function.readConfig(at: offset, width: 4)
        if head & 0xFF == 9 { starts[UInt8(truncatingIfNeeded: head >> 24)] = offset }
        lastLink = offset + 1
        offset = Int(head >> 8 & 0xFF)
      }
    }

    func start(_ type: VirtioCapabilityType) throws -> Int {
      try #require(starts[type.rawValue])
    }
  }

  /// The bytes of a capability at `start`.
  static func capability(
    at start: Int, next: UInt8, length: UInt8 = 16, type: UInt8, bar: UInt8 = 0, offset: UInt32,
    byteCount: UInt32
  ) -> [Int: UInt8] {
    var bytes: [Int: UInt8] = [
      start: 9, start + 1: next, start + 2: length, start + 3: type, start + 4: bar,
    ]
    for index in 5..<Int(length) { bytes[start + index] = 0 }
    for index in 0..<4 {
      bytes[start + 8 + index] = UInt8(truncatingIfNeeded: offset >> UInt32(8 * index))
      bytes[start + 12 + index] = UInt8(truncatingIfNeeded: byteCount >> UInt32(8 * index))
    }
    return bytes
  }

  /// A list that begins with `bytes`, a capability at 0xC0 that points to the true first one.
  static func before(_ bytes: [Int: UInt8]) -> RecordingFunction.Script {
    var script = RecordingFunction.Script()
    script.configBytes = bytes
    script.configBytes[0x34] = 0xC0
    return script
  }

  private func worksWith(_ script: RecordingFunction.Script) throws -> Rig {
    let rig = try Rig(script: script)
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    return rig
  }

  // MARK: - Rows 1 and 2

  @Test(
    "row 1: 1af4:1042 and 1af4:1001 at any revision and subsystem are virtio-blk",
    arguments: [0x42, 0x01] as [UInt8], [0, 1, 0xFF] as [UInt8])
  func identity(device: UInt8, revision: UInt8) throws {
    var script = RecordingFunction.Script()
    script.configBytes = [2: device, 8: revision, 0x2C: 0x34, 0x2D: 0x12, 0x2E: 0, 0x2F: 0]
    _ = try worksWith(script)
  }

  @Test(
    "row 1: another vendor or device is refused by its id, and no register touched",
    arguments: [(0, 0x86, "1a86:1042"), (2, 0x41, "1af4:1041"), (3, 0x20, "1af4:2042")]
      as [(Int, UInt8, String)])
  func foreign(byte: Int, value: UInt8, name: String) throws {
    var script = RecordingFunction.Script()
    script.configBytes = [byte: value]
    let (error, function) = try Rig.refusal(script: script)
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains(name) == true, "\(error?.cause ?? "opened")")
    #expect(function.events.registers.isEmpty)
    #expect(function.closes == 1)
  }

  @Test("row 2: a function without virtio capabilities is called legacy, and no register touched")
  func legacy() throws {
    let space = try Space()
    var script = RecordingFunction.Script()
    for start in space.starts.values { script.configBytes[start] = 0x05 }
    let (error, function) = try Rig.refusal(script: script)
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("legacy") == true)
    #expect(function.events.registers.isEmpty)
    #expect(function.closes == 1)
  }

  @Test("row 2: a function whose status says that it has no capability list is called legacy")
  func noList() throws {
    var script = RecordingFunction.Script()
    script.configBytes = [6: 0]
    let (error, _) = try Rig.refusal(script: script)
    #expect(error?.cause.contains("legacy") == true)
  }

  // MARK: - Rows 3-5

  @Test(
    "row 3: a capability of reserved type is passed over",
    arguments: [0, 6, 7, 8, 9, 10, 0xFF] as [UInt8])
  func reservedType(type: UInt8) throws {
    _ = try worksWith(
      Self.before(
        Self.capability(at: 0xC0, next: 0x40, type: type, offset: 0x3000, byteCount: 64)))
  }

  @Test(
    "row 3: a structure in a reserved BAR is passed over, the next of its kind taken",
    arguments: [1, 2, 3, 4] as [UInt8], [6, 7, 0xFF] as [UInt8])
  func reservedBar(type: UInt8, bar: UInt8) throws {
    _ = try worksWith(
      Self.before(
        Self.capability(
          at: 0xC0, next: 0x40, length: 20, type: type, bar: bar, offset: 0, byteCount: 64)))
  }

  @Test("row 4: longer capabilities and structures than needed are taken")
  func longer() throws {
    let space = try Space()
    var script = RecordingFunction.Script()
    for type in [VirtioCapabilityType.commonConfig, .isr, .deviceConfig] {
      script.configBytes[try space.start(type) + 2] = 0x40
    }
    // 4,096 bytes of common configuration, the rest of the BAR for the others.
    let sizes: [(VirtioCapabilityType, UInt8)] = [
      (.commonConfig, 0x10), (.isr, 0x10), (.deviceConfig, 0x10), (.notify, 0x0F),
    ]
    for (type, high) in sizes { script.configBytes[try space.start(type) + 13] = high }
    let rig = try worksWith(script)
    let beyond = rig.function.events.compactMap(\.register).filter {
      $0.isCommon && $0.offset >= UInt64(VirtioPCI.commonConfigMinimum)
    }
    #expect(beyond.isEmpty, "only what the features need is touched")
  }

  @Test("row 5: of two usable structures of a kind the first counts")
  func firstUsable() throws {
    let space = try Space()
    for type in [VirtioCapabilityType.commonConfig, .notify, .deviceConfig] {
      var script = RecordingFunction.Script()
      script.configBytes = Self.capability(
        at: 0xC0, next: 0, length: 20, type: type.rawValue, offset: 0x1800, byteCount: 0x800)
      script.configBytes[space.lastLink] = 0xC0
      _ = try worksWith(script)
    }
  }

  @Test("row 5: an unusable structure of a kind gives way to a later usable one")
  func laterUsable() throws {
    for (offset, count) in [(0x4000, 64), (0x3FF0, 64), (0, 0), (0xFFFF_F000, 0x2000)]
      as [(UInt32, UInt32)]
    {
      for type in [1, 2, 3, 4] as [UInt8] {
        _ = try worksWith(
          Self.before(
            Self.capability(
              at: 0xC0, next: 0x40, length: 20, type: type, offset: offset, byteCount: count)))
      }
    }
  }

  // MARK: - Rows 6-9

  @Test("rows 6, 7, 9: configuration space is never written, from opening to the end")
  func configIsReadOnly() throws {
    let function = try life()
    let stores = function.events.filter { if case .configStore = $0 { true } else { false } }
    #expect(stores.isEmpty)
    #expect(function.events.contains(.busMaster(true)), "the bus does it for the driver")
  }

  @Test("row 8: each register is accessed at its own width, 64-bit ones as two halves")
  func widths() throws {
    let common: [UInt64: Int] = [
      0x00: 4, 0x04: 4, 0x08: 4, 0x0C: 4, 0x10: 2, 0x12: 2, 0x14: 1, 0x15: 1, 0x16: 2, 0x18: 2,
      0x1A: 2, 0x1C: 2, 0x1E: 2, 0x20: 4, 0x24: 4, 0x28: 4, 0x2C: 4, 0x30: 4, 0x34: 4,
    ]
    let config: [UInt64: Int] = [
      0: 4, 4: 4, 8: 4, 12: 4, 20: 4, 24: 1, 26: 2, 28: 4, 32: 1, 34: 2, 36: 4, 40: 4, 44: 4,
      48: 4, 52: 4, 56: 1,
    ]
    let function = try life()
    var seen = Set<Register>()
    for register in function.events.compactMap(\.register) {
      seen.insert(register)
      if register.isDoorbell {
        #expect(register.width == 2)
      } else if register.isConfig {
        #expect(config[register.offset - Register.configOffset] == register.width, "\(register)")
      } else {
        #expect(common[register.offset] == register.width, "\(register)")
      }
    }
    #expect(seen.count > 25, "most registers were used: \(seen.count)")
  }

  /// A device's whole life: opened, used, reset, used, closed.
  private func life() throws -> RecordingFunction {
    let function: RecordingFunction
    do {
      let rig = try Rig(disk: { $0.sizeMax = 65536 })
      function = rig.function
      var queue = try rig.device.makeQueue()
      let before = try queue.works(rig)
      #expect(before)
      try queue.flush()
      _ = try queue.identify()
      rig.device.reset()
      let after = try queue.works(rig)
      #expect(after)
      rig.device.close()
    }
    #expect(function.closes == 1)
    return function
  }
}
