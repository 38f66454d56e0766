internal import DMAPool
internal import Synchronization

/// The mapper of an emulated disk: device addresses equal no pointer, and nothing but what is
/// mapped here can be reached.
///
/// A change stops all queues of the disk for its time, so none holds an old translation.
final class EmulatedIOMMU: DMAMapper {
  private let core: DeviceCore
  private let ranges: [ClosedRange<UInt64>]
  /// Bytes of each mapping, by its device address.
  private let mappings = Mutex<[UInt64: Int]>([:])

  init(core: DeviceCore, ranges: [ClosedRange<UInt64>]) {
    self.core = core
    self.ranges = ranges
  }

  deinit {
    mappings.withLock { all in
      for (base, count) in all {
        _ = core.queues.withAllStopped {
          core.pages.remove(base: base, length: UInt64(count))
        } then: {
          $0.forgetTranslations()
        }
      }
    }
  }

  var name: String { core.name }
  var numaNode: Int? { nil }
  var addressing: DMAAddressing {
    .translated(ranges: ranges, pageByteCount: PageTable.pageByteCount)
  }

  func map(
    _ memory: UnsafeMutableRawPointer, byteCount: Int, deviceAddress: UInt64
  ) throws(DMAError) {
    let page = PageTable.pageByteCount
    let hex = "0x" + String(deviceAddress, radix: 16)
    guard byteCount > 0, UInt64(byteCount) % page == 0, deviceAddress % page == 0,
      UInt64(UInt(bitPattern: memory)) % page == 0
    else {
      throw DMAError(
        .invalidArgument, "\(name): \(byteCount) bytes at \(hex) are not whole pages",
        remedy: "align memory, address and size to \(page) bytes")
    }
    let last = deviceAddress &+ UInt64(byteCount) &- 1
    guard last > deviceAddress,
      ranges.contains(where: { $0.contains(deviceAddress) && $0.contains(last) })
    else {
      throw DMAError(
        .mapRefused, "\(name): \(byteCount) bytes at \(hex) lie outside its address ranges",
        remedy: "choose a device address inside the ranges that it reports")
    }
    let run = unsafe Run(base: deviceAddress, length: UInt64(byteCount), host: memory)
    let free = mappings.withLock { all in
      core.queues.withAllStopped {
        guard !core.pages.overlaps(base: run.base, length: run.length) else { return false }
        core.pages.insert(run)
        all[run.base] = byteCount
        return true
      }
    }
    guard free else {
      throw DMAError(
        .mapRefused, "\(name): \(byteCount) bytes at \(hex) overlap a mapping",
        remedy: "unmap the older one, or choose another address")
    }
  }

  func unmap(deviceAddress: UInt64, byteCount: Int) throws(DMAError) {
    let known = mappings.withLock { all in
      guard all[deviceAddress] == byteCount else { return false }
      all[deviceAddress] = nil
      return core.queues.withAllStopped {
        core.pages.remove(base: deviceAddress, length: UInt64(byteCount))
      } then: {
        $0.forgetTranslations()
      }
    }
    guard known else {
      throw DMAError(
        .notAttached,
        "\(name): no mapping of \(byteCount) bytes at 0x\(String(deviceAddress, radix: 16))",
        remedy: "unmap with the address and size that were mapped, once")
    }
  }
}
