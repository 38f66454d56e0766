internal import CPci
internal import Glibc
internal import Synchronization

/// The machine's PCI bus, read through libpciaccess: identities and nothing else. Nothing is
/// written, mapped or enabled.
enum PCIBus {
  /// libpciaccess keeps one state a process: two scans at a time would free each other's list.
  private static let library = Mutex(())

  /// Every function that `isWanted` by its ids, in the bus's order.
  static func identities(
    where isWanted: (PCIIdentity) -> Bool
  ) throws(PCIError) -> [PCIIdentity] {
    let result: Result<[PCIIdentity], PCIError> = library.withLock { _ in
      do throws(PCIError) {
        return .success(try scan(isWanted))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func scan(
    _ isWanted: (PCIIdentity) -> Bool
  ) throws(PCIError) -> [PCIIdentity] {
    let status = pci_system_init()
    guard status == 0 else { throw unreadable("pci_system_init", status) }
    defer { pci_system_cleanup() }
    guard let iterator = unsafe pci_slot_match_iterator_create(nil) else {
      throw unreadable("pci_slot_match_iterator_create", ENOMEM)
    }
    defer { unsafe pci_iterator_destroy(iterator) }
    var found: [PCIIdentity] = []
    while let device = unsafe pci_device_next(iterator) {
      // Ids are known without a probe, and a probe reads the configuration space of a function
      // that is not ours to touch.
      guard isWanted(unsafe identity(of: device, probed: false)) else { continue }
      let status = unsafe pci_device_probe(device)
      guard status == 0 else {
        let address = unsafe address(of: device)
        throw unreadable("pci_device_probe of \(address)", status)
      }
      found.append(unsafe identity(of: device, probed: true))
    }
    return found.sorted { $0.address < $1.address }
  }

  private static func unreadable(_ call: String, _ status: CInt) -> PCIError {
    let reason = unsafe String(cString: strerror(status))
    switch status {
    case ENOENT, ENOTDIR, ENXIO:
      return PCIError(
        .unsupported, "this machine shows no PCI bus (\(call): \(reason))",
        remedy: "emulated devices (emu:64M) need none; else see that /sys/bus/pci is there")
    case EACCES, EPERM:
      return PCIError(.permission, "\(call): \(reason)", remedy: "run as root")
    default:
      return PCIError(.system, "\(call): \(reason)", remedy: "see that /sys/bus/pci is readable")
    }
  }

  private static func address(of device: UnsafeMutablePointer<pci_device>) -> PCIAddress {
    unsafe PCIAddress(
      domain: device.pointee.domain, bus: device.pointee.bus, device: device.pointee.dev,
      function: device.pointee.func)
  }

  private static func identity(
    of device: UnsafeMutablePointer<pci_device>, probed: Bool
  ) -> PCIIdentity {
    unsafe PCIIdentity(
      address: address(of: device),
      vendor: device.pointee.vendor_id, device: device.pointee.device_id,
      subsystemVendor: device.pointee.subvendor_id,
      subsystemDevice: device.pointee.subdevice_id,
      classCode: device.pointee.device_class, revision: device.pointee.revision,
      bars: probed ? bars(of: device) : [],
      interface: probed ? interface(of: device) : .unknown)
  }

  private static func bars(of device: UnsafeMutablePointer<pci_device>) -> [PCIIdentity.Bar] {
    unsafe withUnsafeBytes(of: device.pointee.regions) { bytes in
      unsafe bytes.withMemoryRebound(to: pci_mem_region.self) { regions in
        var bars: [PCIIdentity.Bar] = []
        for index in 0..<regions.count where unsafe regions[index].size > 0 {
          let region = unsafe regions[index]
          bars.append(
            unsafe PCIIdentity.Bar(
              index: index, base: region.base_addr, byteCount: region.size,
              isIO: region.is_IO != 0, is64Bit: region.is_64 != 0,
              isPrefetchable: region.is_prefetchable != 0))
        }
        return bars
      }
    }
  }

  /// A read of configuration space may be short without an error: only what came counts.
  private static func interface(
    of device: UnsafeMutablePointer<pci_device>
  ) -> PCIIdentity.Interface {
    var config = [UInt8](repeating: 0, count: 256)
    var got: pciaddr_t = 0
    let status = unsafe config.withUnsafeMutableBytes { buffer in
      unsafe pci_device_cfg_read(
        device, buffer.baseAddress, 0, pciaddr_t(buffer.count), &got)
    }
    guard status == 0, let ids = ConfigCapabilities.ids(in: Array(config.prefix(Int(got)))) else {
      return .unknown
    }
    return ids.contains(ConfigCapabilities.vendorSpecific) ? .modern : .legacyOnly
  }
}
