import CHostIO
import PCI
import Synchronization
import Virtio

/// Modern virtio over a PCI function: registers, status machine, features, configuration, queue
/// set-up (virtio 1.2, 3.1 and 4.1). Control plane only; the caller lets one thread in at a time.
///
/// Everything read here comes from the device and is checked before it is used.
final class VirtioPCITransport: Sendable {
  let function: any PCIFunction
  private let common: RegisterBlock
  private let notify: RegisterBlock
  private let notifyMultiplier: UInt32
  private let device: RegisterBlock
  private let isr: RegisterBlock
  /// What doorbells depend on; set by the negotiation.
  private let negotiated = Atomic<UInt64>(0)

  /// Finds the virtio structures of `function`.
  init(_ function: any PCIFunction) throws(VBlkError) {
    do {
      let identity = try function.identity
      guard identity.vendor == VirtioPCI.vendorID,
        identity.device == VirtioPCI.modernBlockID
          || identity.device == VirtioPCI.transitionalBlockID
      else {
        throw VBlkError(
          .deviceUnavailable,
          "\(function.name) is \(hex(UInt64(identity.vendor))):\(hex(UInt64(identity.device))), "
            + "not a virtio-blk function (1af4:1042 or 1af4:1001)",
          remedy: "choose one that `vblk list` shows")
      }
      let found = try VirtioCapabilities(of: function)
      guard found.foundAny else {
        throw VBlkError(
          .deviceUnavailable,
          "\(function.name) has no virtio capability: it is a legacy-only device",
          remedy: "give the VM a modern one (QEMU: disable-legacy=on,disable-modern=off)")
      }
      guard let common = found.common, let notify = found.notify, let device = found.device,
        let isr = found.isr
      else {
        let reasons =
          found.passedOver.isEmpty ? "none offered" : found.passedOver.joined(separator: "; ")
        throw VBlkError(
          .deviceUnavailable,
          "\(function.name) lacks a usable common, notify, ISR or device structure (\(reasons))",
          remedy: "the device is faulty, or its BARs are not mapped; see `vblk info -v`")
      }
      guard function.reachesRegions || found.window != nil else {
        throw VBlkError(
          .deviceUnavailable,
          "the BARs of \(function.name) can't be reached, and it has no PCI_CFG capability "
            + "(virtio 1.2, 4.1.4.9)",
          remedy: "enable its memory space, or bind it to vfio-pci")
      }
      self.function = found.window.map { ConfigWindow(function, at: $0) } ?? function
      self.isr = isr
      self.common = common
      self.notify = notify
      self.notifyMultiplier = found.notifyMultiplier
      self.device = device
    } catch let error as PCIError {
      throw VBlkError(error)
    } catch let error as VBlkError {
      throw error
    } catch {
      preconditionFailure("only PCIError and VBlkError are thrown here: \(error)")
    }
  }

  // MARK: - Registers

  private func read(_ register: UInt64, width: Int) -> UInt32 {
    function.read(region: common.region, offset: common.offset + register, width: width)
  }

  private func write(_ register: UInt64, width: Int, _ value: UInt32) {
    function.write(
      region: common.region, offset: common.offset + register, width: width, value: value)
  }

  /// Writes a 64-bit register as two 32-bit halves (virtio 1.2, 4.1.3.1).
  private func write64(_ register: UInt64, _ value: UInt64) {
    write(register, width: 4, UInt32(truncatingIfNeeded: value))
    write(register + 4, width: 4, UInt32(truncatingIfNeeded: value >> 32))
  }

  // MARK: - Status

  var status: DeviceStatus {
    DeviceStatus(rawValue: UInt8(truncatingIfNeeded: read(CommonConfig.deviceStatus, width: 1)))
  }

  /// Adds `bits` to the status; a driver never clears one (virtio 1.2, 2.1.1). Nothing is written
  /// where the function is gone: its all ones are no bits to keep.
  func addStatus(_ bits: DeviceStatus) {
    let now = status
    guard now != .removed else { return }
    write(CommonConfig.deviceStatus, width: 1, UInt32(now.union(bits).rawValue))
  }

  /// Writes 0 to the status and waits until it reads 0 (virtio 1.2, 2.4.1 and 4.1.4.3.2).
  ///
  /// - Returns: Whether the device confirmed within the limit. If not it may still do DMA.
  func resetDevice(limitNanoseconds: UInt64 = Limits.resetNanoseconds) -> Bool {
    write(CommonConfig.deviceStatus, width: 1, 0)
    let start = chio_now_ns()
    repeat {
      if status.rawValue == 0 { return true }
      chio_pause()
    } while chio_now_ns() - start < limitNanoseconds
    return status.rawValue == 0
  }

  // MARK: - Features

  func offeredFeatures() -> Features {
    var bits: UInt64 = 0
    for half in 0..<2 as Range<UInt32> {
      write(CommonConfig.deviceFeatureSelect, width: 4, half)
      bits |= UInt64(read(CommonConfig.deviceFeature, width: 4)) << (32 * UInt64(half))
    }
    return Features(rawValue: bits)
  }

  func accept(_ features: Features) {
    for half in 0..<2 as Range<UInt32> {
      write(CommonConfig.driverFeatureSelect, width: 4, half)
      write(
        CommonConfig.driverFeature, width: 4,
        UInt32(truncatingIfNeeded: features.rawValue >> (32 * UInt64(half))))
    }
  }

  /// Notes what was agreed, for doorbells.
  func settle(_ features: Features) { negotiated.store(features.rawValue, ordering: .relaxed) }

  /// Reads the interrupt status, which clears it and takes the interrupt line back (virtio 1.2,
  /// 4.1.4.5).
  func takeInterruptStatus() -> UInt8 {
    UInt8(truncatingIfNeeded: function.read(region: isr.region, offset: isr.offset, width: 1))
  }

  // MARK: - Configuration

  var configGeneration: UInt8 {
    UInt8(truncatingIfNeeded: read(CommonConfig.configGeneration, width: 1))
  }

  /// Bytes of the device configuration that there are.
  var configByteCount: Int { Int(clamping: device.byteCount) }

  /// One field of the device configuration, 8 bytes as two halves; not atomic by itself.
  func configField(_ offset: Int, width: Int) -> UInt64 {
    let start = device.offset + UInt64(offset)
    if width == 8 {
      let low = function.read(region: device.region, offset: start, width: 4)
      let high = function.read(region: device.region, offset: start + 4, width: 4)
      return UInt64(high) << 32 | UInt64(low)
    }
    return UInt64(function.read(region: device.region, offset: start, width: width))
  }

  /// Writes a byte of the device configuration: `writeback` is the one that a driver may write
  /// (virtio 1.2, 5.2.5).
  func writeConfigByte(_ offset: Int, _ value: UInt8) {
    function.write(
      region: device.region, offset: device.offset + UInt64(offset), width: 1,
      value: UInt32(value))
  }

  /// Calls `body`, which reads fields, until the generation is the same before and after it
  /// (virtio 1.2, 2.5.3); a bounded number of times.
  ///
  /// - Returns: What `body` read, and the generation that it is of.
  func stableConfig<T>(_ body: () -> T) throws(VBlkError) -> (value: T, generation: UInt8) {
    for _ in 0..<Limits.configRetries {
      let before = configGeneration
      let value = body()
      if configGeneration == before { return (value, before) }
    }
    throw VBlkError(
      .deviceUnavailable,
      "\(function.name) changed its configuration at each of \(Limits.configRetries) reads",
      remedy: "the device is faulty")
  }

  // MARK: - Queues

  /// Every feature but those whose register the common structure is too short for.
  var usable: Features {
    var features = Features(rawValue: .max)
    if common.byteCount < CommonConfig.queueReset + 2 { features.remove(.ringReset) }
    if common.byteCount < CommonConfig.queueNotifyData + 2 {
      features.remove(.notificationConfigData)
    }
    return features
  }

  /// Resets queue `index` (virtio 1.2, 4.1.4.3.1): writes 1 and waits until the register reads 0.
  ///
  /// - Returns: Whether the device confirmed within the limit. If not it may still use the ring.
  func resetQueue(_ index: Int, limitNanoseconds: UInt64 = Limits.resetNanoseconds) -> Bool {
    write(CommonConfig.queueSelect, width: 2, UInt32(index))
    write(CommonConfig.queueReset, width: 2, 1)
    let start = chio_now_ns()
    repeat {
      if read(CommonConfig.queueReset, width: 2) == 0 { return true }
      chio_pause()
    } while chio_now_ns() - start < limitNanoseconds
    return read(CommonConfig.queueReset, width: 2) == 0
  }

  var queueCount: Int { Int(read(CommonConfig.queueCount, width: 2)) }

  /// The largest size of queue `index`; 0 where there is no such queue.
  func maximumQueueSize(_ index: Int) -> Int {
    write(CommonConfig.queueSelect, width: 2, UInt32(index))
    return Int(read(CommonConfig.queueSize, width: 2))
  }

  /// Gives the device a queue and enables it (virtio 1.2, 4.1.5.1.3): everything else first, the
  /// vector read back, `queue_enable` last.
  ///
  /// - Returns: Where the queue's doorbell is.
  func enableQueue(
    _ index: Int, size: Int, addresses: RingAddresses, vector: UInt16
  ) throws(VBlkError) -> Doorbell {
    write(CommonConfig.queueSelect, width: 2, UInt32(index))
    write(CommonConfig.queueSize, width: 2, UInt32(size))
    let accepted = Int(read(CommonConfig.queueSize, width: 2))
    guard accepted == size else {
      throw VBlkError(
        .deviceUnavailable,
        "\(function.name) answered size \(accepted) when queue \(index) was given \(size) "
          + "(virtio 1.2, 4.1.5.1.3)",
        remedy: "the device is faulty")
    }
    write64(CommonConfig.queueDescriptors, addresses.descriptors)
    write64(CommonConfig.queueDriver, addresses.driver)
    write64(CommonConfig.queueDevice, addresses.device)
    if function.interruptVectorCount > 0 {
      write(CommonConfig.queueVector, width: 2, UInt32(vector))
      let readBack = UInt16(truncatingIfNeeded: read(CommonConfig.queueVector, width: 2))
      guard readBack == vector else {
        throw VBlkError(
          .deviceUnavailable,
          "\(function.name) refused vector \(vector) for queue \(index)",
          remedy: "use fewer interrupt vectors")
      }
    }
    let doorbell = try doorbell(of: index)
    write(CommonConfig.queueEnable, width: 2, 1)
    return doorbell
  }

  /// Where queue `index`, which is selected, is notified (virtio 1.2, 4.1.4.4).
  private func doorbell(of index: Int) throws(VBlkError) -> Doorbell {
    let position = UInt64(read(CommonConfig.queueNotifyOffset, width: 2))
    let (offset, overflow) = position.multipliedReportingOverflow(by: UInt64(notifyMultiplier))
    let features = Features(rawValue: negotiated.load(ordering: .relaxed))
    let isWide = features.contains(.notificationData)
    let width: UInt64 = isWide ? 4 : 2
    let value =
      features.contains(.notificationConfigData)
      ? read(CommonConfig.queueNotifyData, width: 2) : UInt32(index)
    guard !overflow, (notify.offset + offset) % width == 0, offset <= notify.byteCount,
      width <= notify.byteCount - offset
    else {
      throw VBlkError(
        .deviceUnavailable,
        "\(function.name) puts the doorbell of queue \(index) at \(position) x "
          + "\(notifyMultiplier), outside the \(notify.byteCount) bytes of its notify structure",
        remedy: "the device is faulty")
    }
    return Doorbell(
      function, region: notify.region, offset: notify.offset + offset,
      value: UInt16(truncatingIfNeeded: value), isWide: isWide)
  }

  /// Sets the vector of configuration changes; false if the device refused it.
  func setConfigVector(_ vector: UInt16) -> Bool {
    guard function.interruptVectorCount > 0 else { return vector == VirtioPCI.noVector }
    write(CommonConfig.configVector, width: 2, UInt32(vector))
    return UInt16(truncatingIfNeeded: read(CommonConfig.configVector, width: 2)) == vector
  }
}

/// The device addresses of a queue's three areas.
struct RingAddresses: Equatable {
  let descriptors: UInt64
  let driver: UInt64
  let device: UInt64
}

/// A number as the storage world writes identities.
func hex(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
