import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// NOTIFICATION_DATA and NOTIF_CONFIG_DATA: row 57 of the driver checklist (virtio 1.2, 2.9 and
/// 4.1.5.2); ORDER_PLATFORM: row 24; many queues: row 42.
@Suite("Driver rules: notifications")
struct NotificationTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    let features: Features
    var isIndirect = true

    var testDescription: String {
      features.described.joined(separator: " ") + (isIndirect ? "" : " direct")
    }

    static let all: [Shape] = [
      [.notificationData], [.notificationData, .ringPacked], [.notificationConfigData],
      [.notificationData, .notificationConfigData],
      [.notificationData, .notificationConfigData, .ringPacked, .inOrder],
      [.notificationData, .inOrder, .orderPlatform],
    ].flatMap { [Shape(features: $0), Shape(features: $0, isIndirect: false)] }

    func apply(to configuration: inout EmulatedDisk.Configuration) {
      configuration.extra = features
      configuration.queueSize = features.contains(.ringPacked) ? 13 : 16
      if !isIndirect { configuration.withheld.insert(.indirectDescriptors) }
    }
  }

  @Test(
    "row 57: width and value are as agreed, the place is the next that isn't available",
    arguments: Shape.all)
  func values(shape: Shape) throws {
    let rig = try Rig(
      disk: {
        shape.apply(to: &$0)
        $0.withheld.insert(.eventIndex)
        $0.queues = 2
      }, options: { $0.queues = 2 })
    #expect(rig.device.info.accepted.isSuperset(of: shape.features))
    let first = try rig.device.makeQueue()
    var queue = try rig.device.makeQueue()
    let isWide = shape.features.contains(.notificationData)
    let size = queue.memory.layout.size
    let span = shape.isIndirect ? 1 : 3
    var requests = 0
    for round in 0..<60 {
      let count = 1 + round % queue.depth
      for _ in 0..<count { _ = try queue.queueRead(rig) }
      rig.function.clear()
      queue.kick()
      requests += count
      let place: UInt32
      if shape.features.contains(.ringPacked) {
        let slots = requests * span
        place = UInt32(slots % size) | (slots / size % 2 == 0 ? 1 << 15 : 0)
      } else {
        place = UInt32(UInt16(truncatingIfNeeded: requests))
      }
      let name: UInt32 = shape.features.contains(.notificationConfigData) ? 0xA008 : 1
      let register = Register(Register.notifyOffset + 4, width: isWide ? 4 : 2)
      #expect(
        rig.function.events == [.store(register, isWide ? name | place << 16 : name)],
        "round \(round)")
      let ended = queue.takeAll(count)
      #expect(ended.count == count)
    }
    #expect(rig.disk.violations.isEmpty, "\(rig.disk.violations)")
    #expect(first.index == 0)
  }

  @Test(
    "row 57: a kick again names the same place, held-back requests are not in it",
    arguments: [true, false])
  func again(packed: Bool) throws {
    let features: Features = packed ? [.notificationData, .ringPacked] : .notificationData
    let (rig, _) = try Gate.rig(disk: { $0.extra = features })
    var queue = try rig.device.makeQueue()
    _ = try queue.queueRead(rig)
    rig.function.clear()
    queue.kick()
    let kick = rig.function.events
    #expect(kick.count == 1)
    _ = try queue.queueRead(rig)
    rig.function.clear()
    queue.ringDoorbell()
    #expect(rig.function.events == kick)
  }

  @Test("row 57: no room for 32 bits, or a place that is not 4-aligned: refused")
  func misplaced() throws {
    // The second capability, at 0x50: length at 12, multiplier at 16.
    for bytes: [Int: UInt8] in [[0x5C: 2], [0x60: 2]] {
      var script = RecordingFunction.Script()
      script.configBytes = bytes
      let (error, _) = try Rig.refusal(
        script: script,
        disk: {
          $0.extra = .notificationData
          $0.queues = 2
        }, options: { $0.queues = 2 })
      #expect(error?.code == .deviceUnavailable, "\(bytes)")
      #expect(error?.cause.contains("doorbell") == true, "\(error?.description ?? "none")")
    }
  }

  @Test("row 24: ORDER_PLATFORM is accepted, and the fences are the platform's; not otherwise")
  func platformOrder() throws {
    for isOffered in [true, false] {
      for packed in [true, false] {
        var features: Features = isOffered ? .orderPlatform : []
        if packed { features.insert(.ringPacked) }
        let rig = try Rig(disk: { $0.extra = features })
        #expect(rig.device.info.accepted.contains(.orderPlatform) == isOffered)
        var queue = try rig.device.makeQueue()
        #expect(queue.isPlatformOrdered == isOffered)
        let works = try queue.works(rig)
        #expect(works)
      }
    }
  }

  @Test("row 42: 64 queues, each with its own doorbell, all working; 65 are refused")
  func manyQueues() throws {
    let rig = try Rig(
      disk: {
        $0.queues = 64
        $0.queueSize = 4
      },
      options: {
        $0.queues = 64
        $0.depth = 4
      })
    #expect(rig.device.info.availableQueues == 64)
    for index in 0..<64 {
      var queue = try rig.device.makeQueue()
      #expect(queue.index == 0, "a queue that was closed is handed out again")
      let works = try queue.works(rig)
      #expect(works, "queue \(index)")
    }
    try useAll(rig, 0)
    for index in 0..<64 { #expect(rig.disk.counters(queue: index).requests > 0) }
    let (error, _) = try Rig.refusal(
      disk: { $0.queues = 64 },
      options: {
        $0.queues = 65
        $0.depth = 4
      })
    #expect(error?.code == .invalidArgument)
    #expect(error?.description.contains("1 to 64") == true)
  }

  /// Takes queue after queue, each while the earlier ones are out.
  private func useAll(_ rig: Rig, _ index: Int) throws {
    guard index < 64 else {
      #expect(throws: VBlkError.self) { _ = try rig.device.makeQueue() }
      return
    }
    var queue = try rig.device.makeQueue()
    #expect(queue.index == index)
    let works = try queue.works(rig)
    #expect(works)
    try useAll(rig, index + 1)
  }
}
