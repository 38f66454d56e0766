import Testing
import VBlkEmu
import Virtio

@testable import VBlkDriver

/// Functions that show themselves otherwise: transitional ones in modern mode, legacy-only ones
/// (rows 1 and 2 of the driver checklist), and ones of which only configuration space can be
/// reached (rows 6 and 7: the PCI_CFG window, virtio 1.2, 4.1.4.9).
@Suite("Driver rules: identities and the window")
struct IdentityTests {
  @Test("row 1: a transitional device is driven in modern mode")
  func transitional() throws {
    let rig = try Rig(disk: { $0.identity = .transitional })
    #expect(try rig.function.identity == (0x1AF4, 0x1001))
    #expect(rig.device.info.accepted.contains(.version1))
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
  }

  @Test("row 2: a legacy-only device is refused with how to change the VM, untouched")
  func legacy() throws {
    let (error, function) = try Rig.refusal(disk: { $0.identity = .legacy })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("legacy-only") == true)
    #expect(error?.remedy.contains("disable-modern=off") == true)
    #expect(
      !function.events.contains {
        switch $0 {
        case .store, .configStore: return true
        default: return false
        }
      })
  }

  @Test("row 7: without reachable BARs everything works through the window")
  func window() throws {
    let rig = try Rig(
      disk: {
        $0.reachesRegions = false
        $0.extra = .notificationData
        $0.queues = 2
      }, options: { $0.queues = 2 })
    for _ in 0..<2 {
      var queue = try rig.device.makeQueue()
      let works = try queue.works(rig)
      #expect(works)
      #expect(queue.statistics.kicks > 0)
    }
    #expect(rig.disk.violations.isEmpty, "\(rig.disk.violations)")
    try rig.disk.setCapacity(sectors: 128)
    rig.device.lookForChanges()
    #expect(rig.device.capacityBytes == 128 * 512)
  }

  @Test(
    "rows 6 and 7: only the window's fields are written; the offset is a multiple of the length")
  func windowTrace() throws {
    let rig = try Rig(disk: { $0.reachesRegions = false })
    var queue = try rig.device.makeQueue()
    let works = try queue.works(rig)
    #expect(works)
    // Common, notify, interrupt status, device; 16 + 20 + 16 + 16 bytes from 0x40 on.
    let window = 0x40 + 16 + 20 + 16 + 16
    var fields: [Int: UInt32] = [:]
    for event in rig.function.events {
      switch event {
      case .configStore(window + 16, let width, _), .configLoad(window + 16, let width, _):
        #expect(fields[window + 12] == UInt32(width))
        #expect(fields[window + 4] == 0)
        #expect((fields[window + 8] ?? 1) % UInt32(width) == 0)
      case .configStore(let offset, let width, let value):
        #expect([window + 4, window + 8, window + 12].contains(offset), "offset \(offset)")
        #expect(width == (offset == window + 4 ? 1 : 4))
        fields[offset] = value
      case .load, .store: Issue.record("a BAR was accessed: \(event)")
      default: break
      }
    }
    #expect(fields.count == 3)
  }

  @Test("row 7: no BAR and no window: refused with the clause")
  func neither() throws {
    var script = RecordingFunction.Script()
    // The device structure's capability ends the list.
    script.configBytes = [0x40 + 16 + 20 + 16 + 1: 0]
    let (error, _) = try Rig.refusal(script: script, disk: { $0.reachesRegions = false })
    #expect(error?.code == .deviceUnavailable)
    #expect(error?.cause.contains("4.1.4.9") == true)
  }
}
