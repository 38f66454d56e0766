import DMAPool
import Synchronization

/// A device that keeps what it is told, and refuses when it is told to.
final class MockMapper: DMAMapper {
  struct Mapping: Equatable {
    var memory: UInt
    var byteCount: Int
    var deviceAddress: UInt64
  }

  private struct State {
    var mappings: [Mapping] = []
    var mapCalls = 0
    var unmapCalls = 0
    var failingMap: Int?
    var failingUnmaps: Range<Int>?
  }

  let name: String
  let addressing: DMAAddressing
  let numaNode: Int? = nil
  private let state = Mutex(State())

  init(
    _ name: String = "mock",
    addressing: DMAAddressing = .translated(ranges: [0...(1 << 47 - 1)], pageByteCount: 4096)
  ) {
    self.name = name
    self.addressing = addressing
  }

  /// What is mapped, by device address.
  var mappings: [Mapping] {
    state.withLock { $0.mappings.sorted { $0.deviceAddress < $1.deviceAddress } }
  }
  var mapCalls: Int { state.withLock { $0.mapCalls } }
  var unmapCalls: Int { state.withLock { $0.unmapCalls } }

  /// Makes the map call after `calls` more of them fail.
  func failMap(after calls: Int?) {
    state.withLock { state in state.failingMap = calls.map { state.mapCalls + $0 } }
  }

  /// Makes all unmap calls fail while `calls` (counted from here) go by.
  func failUnmaps(_ calls: Range<Int>?) {
    state.withLock { state in
      state.failingUnmaps = calls.map {
        state.unmapCalls + $0.lowerBound..<state.unmapCalls + $0.upperBound
      }
    }
  }

  func map(
    _ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64
  ) throws(DMAError) {
    let start = UInt(bitPattern: memory)
    try state.withLock { (state) throws(DMAError) in
      defer { state.mapCalls += 1 }
      if state.mapCalls == state.failingMap {
        throw DMAError(.mapRefused, "\(name) was told to refuse", remedy: "none")
      }
      for other in state.mappings
      where deviceAddress < other.deviceAddress + UInt64(other.byteCount)
        && other.deviceAddress < deviceAddress + UInt64(byteCount)
      {
        throw DMAError(.mapRefused, "\(name) has \(other) there", remedy: "none")
      }
      state.mappings.append(
        Mapping(memory: start, byteCount: byteCount, deviceAddress: deviceAddress))
    }
  }

  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError) {
    try state.withLock { (state) throws(DMAError) in
      defer { state.unmapCalls += 1 }
      if state.failingUnmaps?.contains(state.unmapCalls) == true {
        throw DMAError(.mapRefused, "\(name) was told not to unmap", remedy: "none")
      }
      guard
        let index = state.mappings.firstIndex(where: {
          $0.deviceAddress == deviceAddress && $0.byteCount == byteCount
        })
      else { throw DMAError(.notAttached, "\(name) has no such mapping", remedy: "none") }
      state.mappings.remove(at: index)
    }
  }

  /// The virtual address behind a device address, or nil.
  func translate(_ address: UInt64) -> UInt? {
    state.withLock { state in
      for entry in state.mappings
      where address >= entry.deviceAddress
        && address - entry.deviceAddress < UInt64(entry.byteCount)
      {
        return entry.memory + UInt(address - entry.deviceAddress)
      }
      return nil
    }
  }
}
