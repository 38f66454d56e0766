internal import VBlk

/// A device that a command works on, with the string that names it in messages.
struct OpenedDevice {
  let name: String
  let address: DeviceAddress
  let device: Device

  /// Bytes of DMA memory that a command gets unless it says what it needs.
  static let memoryByteCount = 32 << 20

  /// Opens a device.
  ///
  /// - Parameters:
  ///   - name: The device string.
  ///   - access: A command that only reads opens an image for reading only.
  ///   - queues: Queues to set up; the string's, else 1.
  ///   - depth: Operations in flight a queue; the string's, else 128.
  ///   - memoryByteCount: DMA memory that the command needs.
  ///   - interrupts: Whether a thread of the command sleeps until an interrupt.
  /// - Throws: What a command ends with.
  init(
    _ name: String, access: Access, queues: Int? = nil, depth: Int? = nil,
    memoryByteCount: Int = Self.memoryByteCount, interrupts: Bool = false
  ) throws {
    var address = try DeviceAddress(name)
    if access == .read {
      var given = address.options
      given.isReadOnly = true
      address = DeviceAddress(place: address.place, options: given)
    } else if address.options.isReadOnly {
      throw Failure(
        .refused, "\(name) is read-only", allowed: "allowed is reading",
        remedy: "leave read-only out of the device string")
    }
    var options = DeviceOptions()
    options.queues = queues ?? address.options.queues ?? options.queues
    options.depth = depth ?? address.options.queueSize ?? options.depth
    options.memoryByteCount = memoryByteCount
    options.interrupts = interrupts
    self.name = name
    self.address = address
    device = try Device.open(address, options: options)
  }

  /// What a command does with a device.
  enum Access {
    case read
    case write
  }

  var capacity: UInt64 { device.info.capacityBytes }
  var blockByteCount: UInt64 { UInt64(device.info.limits.logicalBlockSize) }

  /// How the device is run, in a line.
  var way: String {
    let info = device.info
    let kind: String =
      switch address.place {
      case .emulated: address.options.isThreaded ? "emulated, threaded" : "emulated, inline"
      case .pci: "PCI function"
      case .vhostUser: "vhost-user"
      }
    let store: String =
      switch address.place {
      case .emulated(.memory): ", in memory"
      case .emulated(.null): ", null"
      case .emulated(.image): ", on a file"
      case .pci, .vhostUser: ""
      }
    let names = FeatureNames(info)
    return "\(kind)\(store), \(ByteSize.describe(capacity)), "
      + "\(info.queueSizes.count) queue\(info.queueSizes.count == 1 ? "" : "s") of "
      + "\(info.queueSizes.first ?? 0), \(names.accepts("RING_PACKED") ? "packed" : "split"), "
      + "\(names.accepts("INDIRECT_DESC") ? "" : "no ")"
      + "indirect, \(names.accepts("EVENT_IDX") ? "" : "no ")event-idx"
      + (names.accepts("IN_ORDER") ? ", in-order" : "")
  }
}

/// A device's features by the specification's names.
struct FeatureNames {
  let offered: [String]
  let accepted: [String]

  init(_ info: DeviceInfo) {
    offered = info.offeredNames
    accepted = info.acceptedNames
  }

  func accepts(_ name: String) -> Bool { accepted.contains(name) }
}
