internal import CHostIO
internal import Glibc

/// The steps to a container with a group in it, and what each failure means to a user.
struct VFIOOpening {
  let facts: FunctionFacts
  let number: String

  init(_ facts: FunctionFacts, group: String) {
    self.facts = facts
    number = group
  }

  private var folder: String { "\(facts.roots.dev)/vfio" }

  /// /dev/vfio/vfio, of the one version that there is.
  func container() throws(PCIError) -> HostFile {
    let file: HostFile
    do throws(FailedCall) {
      file = try HostFile("\(folder)/vfio")
    } catch {
      if error.code == ENOENT || error.code == ENODEV {
        throw PCIError(
          .unsupported, "\(error): this kernel runs without VFIO (D12)",
          remedy: "modprobe vfio-pci; Debian: apt install linux-image-amd64")
      }
      throw failure(error)
    }
    let version = chio_vfio_api_version(file.descriptor)
    guard version == VFIO_API_VERSION else {
      throw PCIError(
        .unsupported, "\(file.path) speaks version \(version), not \(VFIO_API_VERSION)",
        remedy: "use a kernel of this century")
    }
    return file
  }

  /// The group's file: /dev/vfio/7, or /dev/vfio/noiommu-7 where VFIO runs without an IOMMU.
  func group() throws(PCIError) -> HostFile {
    var last: FailedCall?
    for path in ["\(folder)/\(number)", "\(folder)/noiommu-\(number)"] {
      do throws(FailedCall) {
        return try HostFile(path)
      } catch {
        guard error.code == ENOENT else { throw failure(error) }
        last = last ?? error
      }
    }
    throw PCIError(
      .busy, "\(last.map { "\($0)" } ?? number): group \(number) is not with vfio-pci (D10)",
      remedy: "vblk bind \(facts.address)")
  }

  /// Whether the group is one without an IOMMU: its file's name says so.
  func isWithoutIOMMU(_ group: HostFile) -> Bool { group.path.contains("noiommu-") }

  /// Puts the group into the container and chooses the kind of IOMMU.
  func join(_ group: HostFile, _ container: HostFile) throws(PCIError) {
    var flags: UInt32 = 0
    guard unsafe chio_vfio_group_flags(group.descriptor, &flags) == 0 else {
      throw failure(FailedCall("VFIO_GROUP_GET_STATUS", group.path))
    }
    guard flags & UInt32(VFIO_GROUP_FLAGS_VIABLE) != 0 else {
      throw PCIError(
        .unsupported,
        "IOMMU group \(number) of \(facts.name) is not viable: \(siblings()) (D02)",
        remedy: "bind all of them to vfio-pci, or unbind them, or move the device to another slot")
    }
    guard chio_vfio_set_container(group.descriptor, container.descriptor) == 0 else {
      throw failure(FailedCall("VFIO_GROUP_SET_CONTAINER", group.path))
    }
    let kind =
      isWithoutIOMMU(group) ? UInt32(VFIO_NOIOMMU_IOMMU) : UInt32(VFIO_TYPE1v2_IOMMU)
    guard chio_vfio_set_iommu(container.descriptor, kind) == 0 else {
      let failed = FailedCall("VFIO_SET_IOMMU", container.path)
      guard failed.code == EPERM else { throw failure(failed) }
      throw PCIError(
        .permission, "\(failed): this IOMMU does not remap interrupts",
        remedy: "QEMU: intremap=on; or modprobe vfio_iommu_type1 allow_unsafe_interrupts=1")
    }
  }

  /// What a failed call means.
  func failure(_ failed: FailedCall) -> PCIError {
    switch failed.code {
    case EBUSY:
      PCIError(
        .busy, "\(failed): \(facts.name), or one of its IOMMU group, is held by \(holder) (D04)",
        remedy: "end it first")
    case EACCES, EPERM:
      PCIError(
        .permission, "\(failed) (D05)",
        remedy: "as root: chown USER \(folder)/\(number), or a udev rule: "
          + "SUBSYSTEM==\"vfio\", GROUP=\"vfio\", MODE=\"0660\"; without an IOMMU only root may")
    case ENODEV:
      PCIError(.removed, "\(failed): \(facts.name) is gone", remedy: "see `vblk list`")
    default:
      PCIError(.system, "\(failed)", remedy: "see dmesg, and `vblk doctor \(facts.address)`")
    }
  }

  /// Who has the function or its group: "process 212 (qemu)".
  private var holder: String {
    let holder = try? FunctionNode(facts.address, roots: facts.roots).holder
    return (holder ?? nil)?.description ?? "another process, which only root can see"
  }

  /// The other members of the group, with their drivers: "0000:00:03.0 (e1000e)".
  private func siblings() -> String {
    let folder = "\(facts.directory)/iommu_group/devices"
    let names = ((try? SystemRoots.names(in: folder)) ?? nil) ?? []
    return names.filter { $0 != facts.name }.map { name in
      let driver = (try? SystemRoots.linkName(at: "\(folder)/\(name)/driver")) ?? nil
      return "\(name) (\(driver ?? "no driver"))"
    }.joined(separator: ", ")
  }
}
