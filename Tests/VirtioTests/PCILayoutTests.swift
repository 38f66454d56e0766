import Testing
import Virtio

@Suite struct PCILayoutTests {
  @Test("4.1.2 and 4.1.4 identities")
  func identities() {
    #expect(VirtioPCI.vendorID == 0x1AF4)
    #expect(VirtioPCI.modernBlockID == 0x1042)
    #expect(VirtioPCI.transitionalBlockID == 0x1001)
    #expect(VirtioPCI.vendorCapabilityID == 9)
    #expect(VirtioPCI.expressCapabilityID == 0x10)
    #expect(VirtioPCI.msixCapabilityID == 0x11)
    #expect(VirtioPCI.noVector == 0xFFFF)
    #expect(VirtioPCI.commonConfigMinimum == 0x38)
  }

  @Test("4.1.4 a capability's fields and kinds")
  func capability() {
    typealias Layout = VirtioCapabilityLayout
    #expect(
      [
        Layout.id, Layout.next, Layout.length, Layout.type, Layout.bar, Layout.structureID,
        Layout.barOffset, Layout.byteCount, Layout.notifyMultiplier, Layout.pciConfigData,
        Layout.plainLength, Layout.extendedLength,
      ] == [0, 1, 2, 3, 4, 5, 8, 12, 16, 16, 16, 20])
    #expect(VirtioCapabilityType.allCases.map(\.rawValue) == [1, 2, 3, 4, 5, 8, 9])
    #expect(VirtioCapabilityType.commonConfig.rawValue == 1)
    #expect(VirtioCapabilityType.notify.rawValue == 2)
    #expect(VirtioCapabilityType.isr.rawValue == 3)
    #expect(VirtioCapabilityType.deviceConfig.rawValue == 4)
    #expect(VirtioCapabilityType.pciConfig.rawValue == 5)
    #expect(VirtioCapabilityType.sharedMemory.rawValue == 8)
    #expect(VirtioCapabilityType.vendor.rawValue == 9)
  }

  @Test("4.1.4.3 every register of the common configuration stands where it must")
  func commonConfig() {
    let registers: [(UInt64, UInt64)] = [
      (CommonConfig.deviceFeatureSelect, 0x00), (CommonConfig.deviceFeature, 0x04),
      (CommonConfig.driverFeatureSelect, 0x08), (CommonConfig.driverFeature, 0x0C),
      (CommonConfig.configVector, 0x10), (CommonConfig.queueCount, 0x12),
      (CommonConfig.deviceStatus, 0x14), (CommonConfig.configGeneration, 0x15),
      (CommonConfig.queueSelect, 0x16), (CommonConfig.queueSize, 0x18),
      (CommonConfig.queueVector, 0x1A), (CommonConfig.queueEnable, 0x1C),
      (CommonConfig.queueNotifyOffset, 0x1E), (CommonConfig.queueDescriptors, 0x20),
      (CommonConfig.queueDriver, 0x28), (CommonConfig.queueDevice, 0x30),
      (CommonConfig.queueNotifyData, 0x38), (CommonConfig.queueReset, 0x3A),
    ]
    for (offset, expected) in registers { #expect(offset == expected) }
  }

  @Test("4.1.4.5 the interrupt status bits")
  func interruptStatus() {
    #expect(InterruptStatus.queue == 1)
    #expect(InterruptStatus.configuration == 2)
  }

  @Test("2.1 the device status bits")
  func deviceStatus() {
    #expect(DeviceStatus.acknowledge.rawValue == 1)
    #expect(DeviceStatus.driver.rawValue == 2)
    #expect(DeviceStatus.driverOK.rawValue == 4)
    #expect(DeviceStatus.featuresOK.rawValue == 8)
    #expect(DeviceStatus.suspend.rawValue == 16)
    #expect(DeviceStatus.needsReset.rawValue == 64)
    #expect(DeviceStatus.failed.rawValue == 128)
    #expect(DeviceStatus.removed.rawValue == 0xFF)
  }
}
