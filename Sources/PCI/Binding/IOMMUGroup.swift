/// The functions that an IOMMU can't tell apart: a process gets all of them or none.
package struct IOMMUGroup: Sendable, Equatable {
  /// Another function of the group.
  package struct Sibling: Sendable, Equatable, CustomStringConvertible {
    package let address: String
    package let driver: String?
    /// Bridges go with any group: the kernel keeps them.
    package let isBridge: Bool

    /// Whether the group is unusable because of it: a driver of the kernel has it.
    package var isInTheWay: Bool {
      !isBridge && driver.map { !IOMMUGroup.harmlessDrivers.contains($0) } ?? false
    }

    package var description: String {
      "\(address) (\(driver ?? "no driver")\(isBridge ? ", a bridge" : ""))"
    }
  }

  /// Its number, which is the name of its node under /dev/vfio.
  package let number: Int
  /// A group that VFIO has made up where there is no IOMMU.
  package let isNoIOMMU: Bool
  /// What the kernel's own DMA goes through: "DMA", "DMA-FQ", "identity"; nil where it doesn't say.
  package let domain: String?
  /// The other functions, in order.
  package let siblings: [Sibling]

  fileprivate static let harmlessDrivers: Set<String> = ["vfio-pci", "pci-stub"]
}

extension FunctionNode {
  /// Its IOMMU group; nil where no IOMMU is active.
  package var iommuGroup: IOMMUGroup? {
    get throws(PCIError) {
      guard let number = try link("iommu_group").flatMap({ Int($0) }) else { return nil }
      var siblings: [IOMMUGroup.Sibling] = []
      for name in try names("iommu_group/devices") where name != address.description {
        let path = "\(roots.sys)/bus/pci/devices/\(name)"
        siblings.append(
          IOMMUGroup.Sibling(
            address: name, driver: try? SystemRoots.linkName(at: "\(path)/driver"),
            isBridge: (try? SystemRoots.word(at: "\(path)/class"))?.hasPrefix("0x0604") ?? false))
      }
      return IOMMUGroup(
        number: number, isNoIOMMU: try word("iommu_group/name") == "vfio-noiommu",
        domain: try word("iommu_group/type"), siblings: siblings)
    }
  }
}
