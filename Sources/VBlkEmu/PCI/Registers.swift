internal import Synchronization
internal import Virtio

/// Accesses to the regions, apart from doorbells.
extension DeviceCore {
  /// What a register reads: all ones when the function is gone, 0 where there is nothing.
  func readRegister(_ region: Int, _ offset: UInt64, _ width: Int) -> UInt32 {
    guard width == 1 || width == 2 || width == 4 else { return .max }
    if signals.removed { return .max >> UInt32(32 - 8 * width) }
    let value = readPresent(region, offset, width)
    if let watchdog, region == BARLayout.virtioRegion {
      watchdog.didRead(offset, width, value)
    }
    return value
  }

  private func readPresent(_ region: Int, _ offset: UInt64, _ width: Int) -> UInt32 {
    registers.withLock { file in
      guard isInside(region, offset, width) else {
        file.report(.registerAccess, at: offset, value: 0)
        return .max >> UInt32(32 - 8 * width)
      }
      guard region == BARLayout.virtioRegion else { return 0 }
      switch offset {
      case ..<BARLayout.interruptStatus:
        if let value = readCommon(offset - BARLayout.common, width, &file) { return value }
      case BARLayout.interruptStatus where width == 1:
        let taken = signals.takeInterruptStatus()
        if file.defects.contains(.interruptStatusKept) { signals.putBackInterruptStatus(taken) }
        return UInt32(taken)
      case BARLayout.device..<BARLayout.notify:
        let isLate = file.defects.contains(.configurationLate)
        if isLate, !signals.status.contains(.featuresOK) { return 0 }
        return file.device.read(Int(offset - BARLayout.device), width: width)
      case BARLayout.notify...: return 0
      default: break
      }
      file.report(.registerAccess, at: offset, value: 0)
      return 0
    }
  }

  /// Takes a write that is no doorbell of the right width.
  func writeRegister(_ region: Int, _ offset: UInt64, _ width: Int, _ value: UInt32) {
    guard width == 1 || width == 2 || width == 4, !signals.removed else { return }
    let isWatched = region == BARLayout.virtioRegion && RegisterWatch.width(of: offset) == width
    if isWatched { watchdog?.willWrite(offset, value, status: signals.status) }
    let serves = registers.withLock { file in
      guard isInside(region, offset, width) else {
        file.report(.registerAccess, at: offset, value: UInt64(value))
        return false
      }
      guard region == BARLayout.virtioRegion else { return false }
      switch offset {
      case ..<BARLayout.interruptStatus:
        return writeCommon(offset - BARLayout.common, width, value, &file)
      case BARLayout.interruptStatus..<BARLayout.device:
        file.report(.readOnlyRegister, at: offset, value: UInt64(value))
      case BARLayout.device..<BARLayout.notify:
        writeDevice(Int(offset - BARLayout.device), width, value, &file)
      case BARLayout.notify..<BARLayout.notify + notifyByteCount:
        file.report(.kickWidth, at: offset, value: UInt64(width))
      default: file.report(.kickOutOfRange, at: offset, value: UInt64(value))
      }
      return false
    }
    if isWatched, offset == CommonConfig.deviceStatus {
      watchdog?.didWriteStatus(value, now: signals.status)
    }
    if serves { serveAll() }
  }

  private func isInside(_ region: Int, _ offset: UInt64, _ width: Int) -> Bool {
    let byteCount = BARLayout.byteCount(region, vectors: signals.vectorCount)
    return offset % UInt64(width) == 0 && offset < byteCount
      && UInt64(width) <= byteCount - offset
  }

  /// `writeback` is the one field that a driver may write, and with CONFIG_WCE only (virtio 1.2,
  /// 5.2.5).
  private func writeDevice(
    _ offset: Int, _ width: Int, _ value: UInt32, _ file: inout RegisterFile
  ) {
    if signals.status.contains(.suspend) {
      file.report(
        .accessWhileSuspended, at: BARLayout.device + UInt64(offset), value: UInt64(value))
      return
    }
    guard offset == BlockConfigLayout.writeback, width == 1,
      file.negotiated.contains(.configWriteCache)
    else {
      file.report(
        .readOnlyRegister, at: BARLayout.device + UInt64(offset), value: UInt64(value))
      return
    }
    file.device.writeback = value & 0xFF != 0
    applyFeatures(file)
  }

  /// One access of the window's own width, where the driver has moved it; nil outside the BARs.
  private func window() -> (region: Int, offset: UInt64, width: Int)? {
    registers.withLock { file in
      let window = file.space.window
      let widths = [1, 2, 4]
      guard widths.contains(window.width), isInside(window.bar, window.offset, window.width) else {
        file.report(
          .configWindowInvalid, at: UInt64(file.space.windowOffset), value: window.offset)
        return nil
      }
      return (window.bar, window.offset, window.width)
    }
  }

  /// Reads through the PCI_CFG window (virtio 1.2, 4.1.4.9).
  func readWindow(_ width: Int) -> UInt32 {
    guard let window = window() else { return 0 }
    return readRegister(window.region, window.offset, window.width)
      & UInt32.max >> UInt32(32 - 8 * width)
  }

  /// Writes through the PCI_CFG window; a doorbell rings.
  func writeWindow(_ value: UInt32) {
    guard let window = window() else { return }
    let position = window.offset &- BARLayout.notify
    if window.region == BARLayout.virtioRegion, position < notifyByteCount, window.width == 2 {
      if registers.withLock({ $0.defects.contains(.windowSilent) }) { return }
      ring(position, value & 0xFFFF)
    } else if window.region == BARLayout.virtioRegion, position < notifyByteCount,
      window.width == 4
    {
      ringNegotiated(position, value, width: 4)
    } else {
      writeRegister(
        window.region, window.offset, window.width,
        value & UInt32.max >> UInt32(32 - 8 * window.width))
    }
  }
}
