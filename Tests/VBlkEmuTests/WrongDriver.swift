import CHostIO
import Testing
import VBlkEmu
import Virtio

/// A driver that breaks one rule: which row, how, and on what disk.
struct WrongDriver: CustomTestStringConvertible, Sendable {
  let row: Int
  let how: String
  let packed: Bool
  var change: @Sendable (inout EmulatedDisk.Configuration) -> Void = { _ in }
  let run: @Sendable (MiniDriver) throws -> Void

  init(
    _ row: Int, _ how: String, packed: Bool = false,
    run: @escaping @Sendable (MiniDriver) throws -> Void
  ) {
    self.row = row
    self.how = how
    self.packed = packed
    self.run = run
  }

  /// The same on a disk that is changed so.
  func on(_ change: @escaping @Sendable (inout EmulatedDisk.Configuration) -> Void) -> WrongDriver {
    var copy = self
    copy.change = change
    return copy
  }

  var testDescription: String { "\(row) \(how)" }

  /// The disk that it drives.
  var configuration: EmulatedDisk.Configuration {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: 1 << 20))
    configuration.watchdog = true
    if packed { configuration.extra.insert(.ringPacked) }
    change(&configuration)
    return configuration
  }

  static let all = registers + status + features + queues + splitRings + packedRings + requests
}

extension MiniDriver {
  /// Reset to the features, FEATURES_OK left out.
  func startNegotiation(_ features: Features? = nil) {
    status = []
    _ = status
    status = .acknowledge
    status = [.acknowledge, .driver]
    accept(features ?? offered)
  }

  /// A read of `count` bytes from `sector` on, in a chain of the ring.
  func readPieces(_ sector: UInt64 = 0, _ count: Int = 512) -> [Piece] {
    request(.read, sector, [.into(address(allocate(count, 512)), count)]).pieces
  }

  /// Makes a chain of `pieces` available and kicks, in whichever ring.
  func show(_ pieces: [Piece], indirect: Bool = false) {
    if isPacked {
      if indirect { placeTable(pieces, id: 0) } else { place(pieces, id: 0) }
      kickPacked()
    } else {
      submit(indirect ? table(pieces) : chain(pieces))
    }
  }

  /// Overwrites `flags` and `next` of descriptor `index`.
  func damage(_ index: Int, flags: UInt16, next: UInt16 = 0) {
    store(rings[0].descriptors + 16 * index + 12, flags)
    store(rings[0].descriptors + 16 * index + 14, next)
  }

  /// Sets up queue 0 with `size` entries and what `change` makes of addresses and memory.
  func setUpOddly(
    size: Int = 16, _ change: (MiniDriver, inout (UInt64, UInt64, UInt64)) -> Void
  ) {
    let descriptors = allocate(16 * size + 64, 4096)
    let available = allocate(6 + 2 * size, 4096)
    let used = allocate(6 + 8 * size, 4096)
    var areas = (address(descriptors), address(available), address(used))
    change(self, &areas)
    write(CommonConfig.queueSelect, 2, 0)
    write(CommonConfig.queueSize, 2, UInt32(size))
    write64(CommonConfig.queueDescriptors, areas.0)
    write64(CommonConfig.queueDriver, areas.1)
    write64(CommonConfig.queueDevice, areas.2)
    write(CommonConfig.queueEnable, 2, 1)
  }

  /// Where the PCI_CFG capability is.
  var windowCapability: Int {
    get throws {
      var offset = Int(try function.readConfig(at: 0x34, width: 1))
      while offset != 0, try function.readConfig(at: offset + 3, width: 1) != 5 {
        offset = Int(try function.readConfig(at: offset + 1, width: 1))
      }
      return offset
    }
  }
}

// Registers and capabilities.
extension WrongDriver {
  static let registers: [WrongDriver] = [
    WrongDriver(6, "writes a capability's offset") {
      try $0.function.writeConfig(at: 0x48, width: 4, value: 0)
    },
    WrongDriver(7, "reads through a window that is not aligned") {
      let window = try $0.windowCapability
      try $0.function.writeConfig(at: window + 4, width: 1, value: 0)
      try $0.function.writeConfig(at: window + 8, width: 4, value: 2)
      try $0.function.writeConfig(at: window + 12, width: 4, value: 4)
      _ = try $0.function.readConfig(at: window + 16, width: 4)
    },
    WrongDriver(8, "reads a 32-bit register with 16 bits") {
      _ = $0.read(CommonConfig.deviceFeature, 2)
    },
    WrongDriver(27, "reads seg_max that is not offered") {
      $0.negotiate()
      _ = $0.config(BlockConfigLayout.segMax, 4)
    }.on { $0.segMax = nil },
    WrongDriver(38, "writes num_queues") {
      $0.negotiate()
      $0.write(CommonConfig.queueCount, 2, 1)
    },
    WrongDriver(38, "writes the capacity") {
      $0.negotiate()
      $0.write(0x2000, 4, 0)
    },
    WrongDriver(57, "rings with 32 bits") {
      $0.start()
      $0.write(0x3000, 4, 0)
    },
    WrongDriver(57, "names another place with NOTIFICATION_DATA") {
      $0.start()
      $0.write(0x3000, 4, 7 << 16)
    }.on { $0.extra = .notificationData },
    WrongDriver(57, "rings with the index though NOTIF_CONFIG_DATA is agreed") {
      $0.start()
      $0.ring()
    }.on { $0.extra = .notificationConfigData },
    WrongDriver(57, "rings a queue that isn't there") {
      $0.start()
      $0.write(0x3000, 2, 9)
    },
  ]

  static let status: [WrongDriver] = [
    WrongDriver(10, "DRIVER_OK without FEATURES_OK") {
      $0.startNegotiation()
      $0.status = [.acknowledge, .driver, .driverOK]
    },
    WrongDriver(10, "doesn't read the status after FEATURES_OK") {
      $0.startNegotiation()
      $0.status = [.acknowledge, .driver, .featuresOK]
      $0.setUp(0, size: 16)
      $0.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    },
    WrongDriver(10, "accepts features before ACKNOWLEDGE") {
      $0.status = []
      _ = $0.status
      $0.accept($0.offered)
    },
    WrongDriver(10, "sets a queue up before FEATURES_OK") {
      $0.startNegotiation()
      $0.setUp(0, size: 16)
    },
    WrongDriver(11, "goes on before the reset is done") {
      $0.status = []
      $0.status = .acknowledge
    },
    WrongDriver(12, "clears a status bit") {
      $0.startNegotiation()
      $0.status = .acknowledge
    },
    WrongDriver(12, "sets NEEDS_RESET") {
      $0.startNegotiation()
      $0.status = [.acknowledge, .driver, .needsReset]
    },
    WrongDriver(13, "goes on without FEATURES_OK") {
      $0.negotiate()
      $0.setUp(0, size: 16)
    }.on { $0.hostility = .refusesFeatures },
    WrongDriver(14, "accepts features after FEATURES_OK") {
      $0.negotiate()
      $0.accept($0.offered.subtracting(.discard))
    },
    WrongDriver(15, "writes writeback before FEATURES_OK") {
      $0.startNegotiation()
      $0.write(0x2000 + UInt64(BlockConfigLayout.writeback), 1, 0)
    },
    WrongDriver(16, "reads writeback before FEATURES_OK") {
      $0.startNegotiation()
      _ = $0.config(BlockConfigLayout.writeback, 1)
    },
    WrongDriver(17, "kicks before DRIVER_OK") {
      $0.negotiate()
      $0.setUp(0, size: 16)
      $0.ring()
    },
    WrongDriver(18, "goes on after FAILED") {
      $0.negotiate()
      $0.status = [.acknowledge, .driver, .featuresOK, .failed]
      $0.setUp(0, size: 16)
    },
  ]

  static let features: [WrongDriver] = [
    WrongDriver(20, "accepts DISCARD, which isn't offered") {
      $0.startNegotiation($0.offered.union(.discard))
      $0.status = [.acknowledge, .driver, .featuresOK]
    }.on { $0.withheld = .discard },
    WrongDriver(21, "accepts bit 50") {
      $0.startNegotiation($0.offered.union(.bit(50)))
      $0.status = [.acknowledge, .driver, .featuresOK]
    },
    WrongDriver(22, "leaves VERSION_1 out") {
      $0.startNegotiation($0.offered.subtracting(.version1))
      $0.status = [.acknowledge, .driver, .featuresOK]
    },
    WrongDriver(25, "accepts SR_IOV") {
      $0.startNegotiation($0.offered.union(.singleRootIOV))
      $0.status = [.acknowledge, .driver, .featuresOK]
    },
  ]

  static let queues: [WrongDriver] = [
    WrongDriver(32, "kicks a suspended device") {
      $0.start()
      $0.status = [.acknowledge, .driver, .featuresOK, .driverOK, .suspend]
      _ = $0.status
      $0.ring()
    }.on { $0.extra = .suspend },
    WrongDriver(41, "resets a queue without RING_RESET") {
      $0.start()
      $0.write(CommonConfig.queueReset, 2, 1)
    },
    WrongDriver(33, "sets up a queue that isn't there") {
      $0.negotiate()
      $0.write(CommonConfig.queueSelect, 2, 5)
      $0.write(CommonConfig.queueSize, 2, 16)
    },
    WrongDriver(34, "size 3 of a split ring") {
      $0.negotiate()
      $0.write(CommonConfig.queueSize, 2, 3)
    },
    WrongDriver(34, "size 0 of a packed ring", packed: true) {
      $0.negotiate()
      $0.write(CommonConfig.queueSize, 2, 0)
    },
    WrongDriver(35, "enables a queue without addresses") {
      $0.negotiate()
      $0.write(CommonConfig.queueEnable, 2, 1)
    },
    WrongDriver(35, "changes the size of an enabled queue") {
      $0.start(size: 16)
      $0.write(CommonConfig.queueSize, 2, 8)
    },
    WrongDriver(35, "writes 0 to queue_enable") {
      $0.start(size: 16)
      $0.write(CommonConfig.queueEnable, 2, 0)
    },
    WrongDriver(35, "kicks a queue that it hasn't enabled") {
      $0.start()
      $0.ring(1)
    }.on { $0.queues = 2 },
    WrongDriver(36, "misaligned descriptors") {
      $0.negotiate()
      $0.setUpOddly { $1.0 += 8 }
    },
    WrongDriver(36, "areas that overlap") {
      $0.negotiate()
      $0.setUpOddly { $1.1 = $1.0 + 32 }
    },
    WrongDriver(36, "an available ring that isn't zero") {
      $0.negotiate()
      $0.setUpOddly { $0.store($0.offset($1.1) + 2, UInt16(7)) }
    },
    WrongDriver(36, "a packed ring that isn't zero", packed: true) {
      $0.negotiate()
      $0.setUpOddly { $0.store($0.offset($1.0) + 14, UInt16(0x80)) }
    },
    WrongDriver(37, "used.flags isn't 0") {
      $0.negotiate()
      $0.setUpOddly { $0.store($0.offset($1.2), UInt16(1)) }
    },
    WrongDriver(39, "a vector that the function doesn't have") {
      $0.negotiate()
      $0.write(CommonConfig.queueVector, 2, 77)
    },
    WrongDriver(39, "doesn't read a queue's vector back") {
      $0.negotiate()
      $0.setUp(0, size: 16, vector: 1)
    },
    WrongDriver(39, "doesn't read the configuration's vector back") {
      $0.negotiate()
      $0.setUp(0, size: 16)
      $0.write(CommonConfig.configVector, 2, 0)
      $0.status = [.acknowledge, .driver, .featuresOK, .driverOK]
    },
    WrongDriver(
      42, "uses a second queue without MQ"
    ) { $0.start(queues: 2) }.on {
      $0.queues = 2
      $0.withheld = .multiQueue
    },
  ]
}
