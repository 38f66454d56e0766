import Synchronization
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// A function that stands before another one: it writes down every access, and can lie in ways that
/// the emulator can't.
final class RecordingFunction: PCIFunction {
  /// What a script makes of the accesses that pass through.
  struct Script: Sendable {
    /// What the driver sees: register, how many loads of it came before, the true value.
    var load: @Sendable (Register, Int, UInt32) -> UInt32 = { _, _, value in value }
    /// What the device sees; nil swallows the store.
    var store: @Sendable (Register, UInt32) -> UInt32? = { _, value in value }
    /// Called before a store is passed on.
    var beforeStore: @Sendable (RecordingFunction, Register, UInt32) -> Void = { _, _, _ in }
    /// Bytes of configuration space shown in place of the true ones.
    var configBytes: [Int: UInt8] = [:]
    /// How many fallible calls (configuration, bus master, map) succeed before one fails.
    var callsBeforeFailure = Int.max
    /// MSI-X vectors that the function seems to have; nil is the truth.
    var interruptVectorCount: Int?
    /// Whether the function seems to have an interrupt line; nil is the truth.
    var hasInterruptLine: Bool?
  }

  private struct State {
    var events: [BusEvent] = []
    var loads: [Register: Int] = [:]
    var calls = 0
    var isRecording = true
  }

  let inner: any PCIFunction
  let mapper: RecordingMapper
  let script: Script
  private let state = Mutex(State())

  init(_ inner: any PCIFunction, script: Script = Script()) {
    self.inner = inner
    self.script = script
    mapper = RecordingMapper(inner.dma)
    mapper.owner.withLock { owner in
      owner = { [weak self] event, canFail throws(PCIError) in
        if canFail { try self?.fallible(event) } else { self?.note(event) }
      }
    }
  }

  /// Everything since the function was made or the trace was cleared.
  var events: [BusEvent] { state.withLock { $0.events } }

  /// Forgets what was written down.
  func clear() { state.withLock { $0.events = [] } }

  /// Fallible calls so far.
  var fallibleCalls: Int { state.withLock { $0.calls } }

  /// Long runs need no trace.
  func stopRecording() { state.withLock { $0.isRecording = false } }

  fileprivate func note(_ event: BusEvent) {
    state.withLock { if $0.isRecording { $0.events.append(event) } }
  }

  /// Counts a call that can fail; fails the one that the script names.
  private func fallible(_ event: BusEvent?) throws(PCIError) {
    let fails = state.withLock { state in
      state.calls += 1
      return state.calls - 1 == script.callsBeforeFailure
    }
    if fails {
      throw PCIError(.system, "injected: call \(script.callsBeforeFailure)", remedy: "none")
    }
    if let event { note(event) }
  }

  // MARK: - PCIFunction

  var name: String { inner.name }
  var dma: any DMAMapper { mapper }
  var configByteCount: Int { inner.configByteCount }
  var interruptVectorCount: Int { script.interruptVectorCount ?? inner.interruptVectorCount }
  func regionByteCount(_ region: Int) -> UInt64 { inner.regionByteCount(region) }

  func readConfig(at offset: Int, width: Int) throws(PCIError) -> UInt32 {
    var value = try inner.readConfig(at: offset, width: width)
    for index in 0..<width {
      guard let byte = script.configBytes[offset + index] else { continue }
      value = value & ~(0xFF << UInt32(8 * index)) | UInt32(byte) << UInt32(8 * index)
    }
    try fallible(.configLoad(offset, width: width, value))
    return value
  }

  func writeConfig(at offset: Int, width: Int, value: UInt32) throws(PCIError) {
    try fallible(.configStore(offset, width: width, value))
    try inner.writeConfig(at: offset, width: width, value: value)
  }

  func read(region: Int, offset: UInt64, width: Int) -> UInt32 {
    let register = Register(region: region, offset, width: width)
    let count = state.withLock { state in
      state.loads[register, default: 0] += 1
      return state.loads[register, default: 0] - 1
    }
    let value = inner.read(region: region, offset: offset, width: width)
    let shown = script.load(register, count, value)
    note(.load(register, shown))
    return shown
  }

  func write(region: Int, offset: UInt64, width: Int, value: UInt32) {
    let register = Register(region: region, offset, width: width)
    note(.store(register, value))
    script.beforeStore(self, register, value)
    guard let passed = script.store(register, value) else { return }
    inner.write(region: region, offset: offset, width: width, value: passed)
  }

  var reachesRegions: Bool { inner.reachesRegions }
  var hasInterruptLine: Bool { script.hasInterruptLine ?? inner.hasInterruptLine }

  func setInterruptLine(eventfd: CInt?) throws(PCIError) {
    try inner.setInterruptLine(eventfd: eventfd)
  }

  func unmaskInterruptLine() { inner.unmaskInterruptLine() }

  func mapped(region: Int, offset: UInt64, count: Int) -> UnsafeMutableRawPointer? {
    inner.mapped(region: region, offset: offset, count: count)
  }

  func setInterrupt(vector: Int, eventfd: CInt?) throws(PCIError) {
    try fallible(.interrupt(vector))
    try inner.setInterrupt(vector: vector, eventfd: eventfd)
  }

  func setBusMaster(_ enabled: Bool) throws(PCIError) {
    try fallible(.busMaster(enabled))
    try inner.setBusMaster(enabled)
  }

  func reset() throws(PCIError) {
    try fallible(.reset)
    try inner.reset()
  }

  func close() {
    note(.close)
    inner.close()
  }

  /// How often the driver has given the function back.
  var closes: Int { events.count { $0 == .close } }
}

/// The mapper of a ``RecordingFunction``: it knows which memory stands at which device address, so
/// that a test can play the device's part in the rings.
final class RecordingMapper: DMAMapper, @unchecked Sendable {
  // Raw pointers under a lock.
  struct Mapping {
    let memory: UnsafeMutableRawPointer
    let byteCount: Int
    let deviceAddress: UInt64
  }

  let inner: any DMAMapper
  fileprivate typealias Note = @Sendable (BusEvent, Bool) throws(PCIError) -> Void
  fileprivate let owner = Mutex<Note?>(nil)
  private let all = Mutex<[UInt64: UInt]>([:])
  private let sizes = Mutex<[UInt64: Int]>([:])

  init(_ inner: any DMAMapper) { self.inner = inner }

  var name: String { inner.name }
  var addressing: DMAAddressing { inner.addressing }
  var numaNode: Int? { inner.numaNode }

  func map(
    _ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64
  ) throws(DMAError) {
    try note(.map(deviceAddress, byteCount: byteCount), canFail: true)
    try inner.map(memory, byteCount: byteCount, deviceAddress: deviceAddress)
    all.withLock { $0[deviceAddress] = UInt(bitPattern: memory) }
    sizes.withLock { $0[deviceAddress] = byteCount }
  }

  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError) {
    // Not counted among the calls that fail: what is unmapped here is the way out of a failure.
    try note(.unmap(deviceAddress, byteCount: byteCount), canFail: false)
    try inner.unmap(deviceAddress: deviceAddress, byteCount: byteCount)
    all.withLock { $0[deviceAddress] = nil }
    sizes.withLock { $0[deviceAddress] = nil }
  }

  private func note(_ event: BusEvent, canFail: Bool) throws(DMAError) {
    let note = owner.withLock { $0 }
    do throws(PCIError) {
      try note?(event, canFail)
    } catch {
      throw DMAError(.mapRefused, error.cause, remedy: error.remedy)
    }
  }

  /// Mappings that have not been ended.
  var mappingCount: Int { all.withLock { $0.count } }

  /// Where the byte at a device address is in this process.
  func host(_ deviceAddress: UInt64) -> UnsafeMutableRawPointer? {
    let bases = all.withLock { $0 }
    let counts = sizes.withLock { $0 }
    for (base, memory) in bases {
      guard let count = counts[base], deviceAddress >= base,
        deviceAddress - base < UInt64(count)
      else { continue }
      return UnsafeMutableRawPointer(bitPattern: memory + UInt(deviceAddress - base))
    }
    return nil
  }
}
