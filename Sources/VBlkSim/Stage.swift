import VBlkDriver
import VBlkEmu
import Virtio

/// A stepped emulated disk and the device that drives it. Time stands still: deadlines are not what
/// is explored.
///
/// Single-threaded: the explorer is the only thread there is.
final class Stage {
  let disk: EmulatedDisk
  let device: Device

  /// What a stage is like.
  struct Options {
    var queues = 1
    var depth = 8
    var ring = Scenario.Ring.split
    var bytes: UInt64 = 64 << 10
    /// Whether each block is a bio of its own.
    var isOneBlockABio = true
    /// Whether completed writes may be lost until a FLUSH.
    var isWriteBack = true
  }

  init(_ options: Options) throws {
    var configuration = EmulatedDisk.Configuration(.memory(byteCount: options.bytes))
    configuration.mode = .stepped
    configuration.queues = options.queues
    configuration.writeback = options.isWriteBack
    if options.isOneBlockABio {
      configuration.segMax = 1
      configuration.sizeMax = 512
    }
    if options.ring != .split {
      configuration.extra.insert(.ringPacked)
      // A packed ring has any size: it is as deep as is asked for.
      configuration.queueSize = options.depth * (options.ring == .packedDirect ? 3 : 1)
    }
    if options.ring == .packedDirect { configuration.withheld.insert(.indirectDescriptors) }
    var driver = DeviceOptions()
    driver.queues = options.queues
    driver.depth = options.depth
    driver.memoryByteCount = 1 << 20
    driver.pages = .small
    driver.bounceBlocks = 2
    driver.clock = { 1 }
    disk = try EmulatedDisk(configuration)
    device = try Device(disk.function, options: driver)
  }
}
