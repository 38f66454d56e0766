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

  /// Maps a BAR of memory, shared, readable and writable. The caller unmaps it by munmap(2): the
  /// mapping is the process's own and outlives the library's state.
  static func map(
    _ address: PCIAddress, bar: Int, byteCount: Int
  ) throws(PCIError) -> UnsafeMutableRawPointer {
    let result: Result<UInt, PCIError> = library.withLock { _ in
      do throws(PCIError) {
        return .success(try mapLocked(address, bar, byteCount))
      } catch {
        return .failure(error)
      }
    }
    guard let start = unsafe UnsafeMutableRawPointer(bitPattern: try result.get()) else {
      throw unmappable(address, bar, EFAULT)
    }
    return unsafe start
  }

  private static func mapLocked(
    _ address: PCIAddress, _ bar: Int, _ byteCount: Int
  ) throws(PCIError) -> UInt {
    let status = pci_system_init()
    guard status == 0 else { throw unreadable("pci_system_init", status) }
    defer { pci_system_cleanup() }
    let device = unsafe pci_device_find_by_slot(
      address.domain, UInt32(address.bus), UInt32(address.device), UInt32(address.function))
    guard let device = unsafe device else {
      throw PCIError(.notFound, "libpciaccess finds no \(address)", remedy: "see `vblk list`")
    }
    let probed = unsafe pci_device_probe(device)
    guard probed == 0 else { throw unreadable("pci_device_probe of \(address)", probed) }
    let found = unsafe bars(of: device).first { $0.index == bar }
    guard let found, found.byteCount == UInt64(byteCount) else {
      throw PCIError(
        .system,
        "libpciaccess gives BAR \(bar) of \(address) \(found?.byteCount ?? 0) bytes, "
          + "sysfs \(byteCount)", remedy: "rescan the bus: echo 1 > /sys/bus/pci/rescan")
    }
    var start: UnsafeMutableRawPointer?
    let mapped = unsafe pci_device_map_range(
      device, found.base, found.byteCount, UInt32(PCI_DEV_MAP_FLAG_WRITABLE), &start)
    guard mapped == 0, let start = unsafe start else { throw unmappable(address, bar, mapped) }
    return UInt(bitPattern: start)
  }

  private static func unmappable(
    _ address: PCIAddress, _ bar: Int, _ status: CInt
  ) -> PCIError {
    let reason = unsafe String(cString: strerror(status))
    switch status {
    case EINVAL, EBUSY:
      return PCIError(
        .busy, "BAR \(bar) of \(address) can't be mapped (\(reason)): a kernel driver has it",
        remedy: "vblk bind \(address)")
    case EACCES, EPERM:
      return PCIError(
        .permission, "BAR \(bar) of \(address) can't be mapped (\(reason))",
        remedy: "run as root; a kernel in lockdown forbids it even then (D12): use vfio-pci")
    default:
      return PCIError(
        .system, "BAR \(bar) of \(address) can't be mapped (\(reason))", remedy: "see dmesg")
    }
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
