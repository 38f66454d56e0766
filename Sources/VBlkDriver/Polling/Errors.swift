import Virtio

/// The rich error of an operation, built when it is asked for from what the queue recorded.
extension Queue {
  /// Says in full why the last submission was refused, or why an operation failed with `code`.
  ///
  /// - Parameter code: What a submission was refused with, or a completion's code.
  /// - Returns: The cause with the values seen, and what to do about it.
  public func error(for code: VBlkError.Code) -> VBlkError {
    let asked = state.refusal
    let what = "\(asked.operation) of \(asked.byteCount) bytes at byte \(asked.offset)"
    let name = device.info.name
    switch code {
    case .readOnly:
      return VBlkError(code, "\(what): \(name) is read-only", remedy: "choose a writable device")
    case .noSpace:
      return VBlkError(
        code, "\(what) reaches beyond the end of \(name)",
        remedy: "stay within its \(capacity) bytes")
    case .invalidArgument:
      return VBlkError(
        code, "\(what) is not a range of whole \(unit(of: asked.operation))-byte blocks",
        remedy: "use multiples of \(unit(of: asked.operation)), at most \(capacity) bytes in all")
    case .busy:
      return VBlkError(
        code, "\(what): all \(depth) slots of queue \(index) are taken",
        remedy: "take a completion with next(), then submit again")
    case .fault:
      return VBlkError(
        code, "\(what): a page of its memory is not mapped for \(name)",
        remedy: "register memory without holes")
    case .foreignMemory:
      return VBlkError(
        code, "\(what): its memory is not mapped for \(name)",
        remedy: "allocate from device.memory, or attach the arena to the device")
    case .unsupported:
      return VBlkError(
        code, "\(what): \(name) does not support it",
        remedy: "it offers \(device.info.offered.described.joined(separator: " "))")
    case .protocolViolation:
      let seen = state.lastViolation.map { "\($0)" } ?? "on another queue"
      return VBlkError(
        code, "\(what) ended because \(name) broke the protocol: \(seen)",
        remedy: "report the device; the driver has reset it")
    case .timedOut:
      return VBlkError(
        code, "\(what) took longer than \(device.deadlineNanoseconds / 1_000_000) ms",
        remedy: "device or queue was reset; whether the operation was carried out is unknown")
    case .ioError:
      return VBlkError(
        code, "\(what) on \(name): the device met an I/O error",
        remedy: "look at what is behind it: its disk may fail, an image's file system be full")
    case .reset, .resetting, .removed, .suspended:
      return VBlkError(
        code, "\(what) on \(name): \(Self.plainText(code))",
        remedy: code == .removed
          ? "open it again once it is back" : code == .suspended ? "resume it" : "try again")
    case .unknownStatus:
      return VBlkError(
        code,
        "\(what) on \(name): status \(state.lastUnknownStatus) has no meaning (virtio 1.3, 5.2.6)",
        remedy: "report the device; whether the operation was carried out is unknown")
    case .zoneInvalidCommand, .zoneUnalignedWritePointer, .zoneOpenResource, .zoneActiveResource,
      .tooLarge:
      return zonedError(code, "\(what) on \(name)")
    default: return VBlkError(code, "\(what) on \(name): \(Self.plainText(code))")
    }
  }

  /// What ranges of an operation are multiples of.
  private func unit(of operation: Operation) -> UInt64 {
    switch operation {
    case .secureErase: UInt64(limits.secureErase.alignment)
    case .write where limits.isHostManaged, .zoneAppend:
      limits.zoned?.writeGranularity ?? UInt64(limits.logicalBlockSize)
    default: UInt64(limits.logicalBlockSize)
    }
  }

  /// What a zoned device refused, or was not asked because it would.
  private func zonedError(_ code: VBlkError.Code, _ what: String) -> VBlkError {
    let zoned = limits.zoned
    switch code {
    case .zoneInvalidCommand:
      return VBlkError(
        code,
        "\(what): ZONE_INVALID_CMD, the zone's type or state doesn't allow it, or it isn't at the "
          + "zone's start or leaves its capacity (virtio 1.3, 5.2.6.2)",
        remedy: "look at the zone's type, state and write pointer in a report")
    case .zoneUnalignedWritePointer:
      return VBlkError(
        code,
        "\(what): ZONE_UNALIGNED_WP, it isn't at the zone's write pointer (virtio 1.3, 5.2.6)",
        remedy: "write where a report shows the write pointer, whole granules, or append")
    case .zoneOpenResource:
      let most = zoned?.maxOpenZones.map(String.init) ?? "no limit"
      return VBlkError(
        code, "\(what): ZONE_OPEN_RESOURCE, max_open_zones is \(most) (virtio 1.3, 5.2.6)",
        remedy: "close or finish an open zone")
    case .zoneActiveResource:
      let most = zoned?.maxActiveZones.map(String.init) ?? "no limit"
      return VBlkError(
        code, "\(what): ZONE_ACTIVE_RESOURCE, max_active_zones is \(most) (virtio 1.3, 5.2.6)",
        remedy: "finish or reset an open or closed zone")
    default:
      return VBlkError(
        code,
        "\(what): an append is one request, at most max_append_sectors: "
          + "\(zoned?.maxAppendBytes ?? 0) bytes in \(memory.layout.maxSegments) pieces "
          + "(virtio 1.3, 5.2.6.1)",
        remedy: "append less at a time")
    }
  }

  private static func plainText(_ code: VBlkError.Code) -> String {
    switch code {
    case .resetting: "the device is being reset"
    case .suspended: "the device is suspended"
    case .reset: "the device was reset; whether the operation was carried out is unknown"
    case .shortTransfer: "the device transferred less than was asked for"
    case .removed: "the device is gone"
    case .closed: "the queue or device is closed"
    default: "\(code)"
    }
  }
}
