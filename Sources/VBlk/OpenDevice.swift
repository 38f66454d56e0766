extension Device {
  /// Opens the device that a string names: "emu:64M", "emu:disk.img,read-only", "pci:00:05.0".
  ///
  /// - Parameters:
  ///   - string: What ``DeviceAddress`` reads.
  ///   - queues: Queues to set up; the string's `queues`, else 1, unless given.
  ///   - depth: Operations in flight a queue; the string's `queue-size`, else 128, unless given.
  /// - Returns: The device, with its queues set up and running.
  /// - Throws: `VBlkError` with what was given, what is allowed and what to do.
  public static func open(
    _ string: String, queues: Int? = nil, depth: Int? = nil
  ) throws(VBlkError) -> Device {
    let address: DeviceAddress
    do throws(AddressError) {
      address = try DeviceAddress(string)
    } catch {
      throw VBlkError(
        .invalidArgument, "\(error.cause): \(error.allowed)", remedy: error.remedy)
    }
    var options = DeviceOptions()
    options.queues = queues ?? address.options.queues ?? options.queues
    options.depth = depth ?? address.options.queueSize ?? options.depth
    return try open(address, options: options)
  }

  /// Opens the device at an address.
  ///
  /// - Parameters:
  ///   - address: Where the device is; of its options those that shape an emulated device.
  ///   - options: How the driver runs it.
  ///   - onBreach: Called for each rule that the driver breaks, where an emulated device is watched
  ///     (option `watchdog`); else breaches are logged.
  /// - Returns: The device, with its queues set up and running.
  /// - Throws: `VBlkError` with what was given, what is allowed and what to do.
  public static func open(
    _ address: DeviceAddress, options: DeviceOptions,
    onBreach: (@Sendable (DriverBreach) -> Void)? = nil
  ) throws(VBlkError) -> Device {
    switch address.place {
    case .emulated:
      let disk = try EmulatedDisk(address, options: options, onBreach: onBreach)
      return try Device(disk.function, options: options)
    case .pci(let address):
      let function: any PCIFunction
      do throws(PCIError) {
        function = try FunctionAccess.open(address)
      } catch {
        throw VBlkError(error)
      }
      return try Device(function, options: options)
    case .vhostUser(let path):
      throw VBlkError(
        .deviceUnavailable, "\(path) is a vhost-user socket, and those can't be driven yet",
        remedy: "use an emulated disk (emu:64M)")
    }
  }
}

extension EmulatedDisk {
  /// Makes the disk that a device string describes, for whoever wants to have it in hand.
  ///
  /// - Parameters:
  ///   - address: Of an emulated device.
  ///   - options: How the driver will run it: the disk has room for its queues and their depth.
  ///   - onBreach: As for `Device.open(_:options:onBreach:)`.
  /// - Throws: `VBlkError` for another device's address, and what no disk can be.
  public convenience init(
    _ address: DeviceAddress, options: DeviceOptions = DeviceOptions(),
    onBreach: (@Sendable (DriverBreach) -> Void)? = nil
  ) throws(VBlkError) {
    guard case .emulated(let store) = address.place else {
      throw VBlkError(
        .invalidArgument, "the device is none of this process",
        remedy: "use an emulated disk (emu:64M)")
    }
    let configuration = try Configuration(
      store, address.options, queues: options.queues, depth: options.depth)
    do throws(EmulatorError) {
      try self.init(configuration, onBreach: onBreach)
    } catch {
      throw VBlkError(error)
    }
  }
}

extension EmulatedDisk.Configuration {
  /// The smallest ring that an emulated disk has unless it's told its size.
  private static let usualQueueSize = 256

  /// What a device string says of an emulated disk, and room for what the driver wants.
  fileprivate init(
    _ store: DeviceAddress.Store, _ given: AddressOptions, queues: Int, depth: Int
  ) throws(VBlkError) {
    switch store {
    case .memory(let byteCount): self.init(.memory(byteCount: byteCount))
    case .null(let byteCount): self.init(.null(byteCount: byteCount))
    case .image(let path):
      self.init(.file(path: path))
      name = "emu:\(path)"
    }
    mode = given.isThreaded ? .threaded : .inline
    self.queues = given.queues ?? queues
    // A direct request takes three descriptors: header, data, status.
    let needed = depth * (given.featuresOff.contains(.indirect) ? 3 : 1)
    queueSize = given.queueSize ?? Self.usualQueueSize
    if given.queueSize == nil {
      while queueSize < min(needed, OptionParser.queueSizeMax) { queueSize *= 2 }
    }
    if let bytes = given.blockByteCount { blockSize = UInt32(bytes) }
    if let count = given.segmentsMax { segMax = UInt32(count) }
    if let bytes = given.segmentByteCountMax { sizeMax = UInt32(bytes) }
    if let text = given.serial { serial = text }
    readOnly = given.isReadOnly
    zones = try given.zoned.zones()
    watchdog = given.isWatched
    do throws(EmulatorError) {
      for feature in given.featuresOff { try withhold(named: feature.specificationName) }
      for feature in given.featuresOn { try offer(named: feature.specificationName) }
      if given.isPacked { try offer(named: "ring-packed") }
    } catch {
      throw VBlkError(error)
    }
  }
}

extension VBlkError {
  /// A failure of the emulator, as the driver's.
  fileprivate init(_ error: EmulatorError) {
    let code: Code =
      switch error.code {
      case .notFound, .invalidImage: .noImage
      case .permission: .permission
      case .invalidArgument, .staleRequest, .wrongState: .invalidArgument
      case .noMemory: .noMemory
      case .busy: .held
      case .system: .system
      }
    self.init(code, error.cause, remedy: error.remedy)
  }
}
