internal import PCI
internal import VBlk

/// What `vblk list` says of the functions that a scan found.
enum FunctionReport {
  static let schema = "vblk.list/1"

  static func text(_ functions: [FunctionState], isVerbose: Bool) -> String {
    guard !functions.isEmpty else {
      return "no virtio-blk function on this machine's PCI bus; emu:64M needs none\n"
    }
    var table = TextTable([
      ("ADDRESS", .left), ("ID", .left), ("DRIVER", .left), ("DISK", .left), ("SIZE", .right),
      ("GROUP", .right), ("NUMA", .right), ("INTERFACE", .left), ("READY", .left), ("USE", .left),
    ])
    for state in functions {
      let function = state.scanned
      table.add([
        function.identity.address.description, id(function.identity),
        function.kernelDriver ?? "-", function.blockNode ?? "-",
        function.byteCount.map(ByteSize.describe) ?? "-",
        function.iommuGroup.map(String.init) ?? "-", function.numaNode.map(String.init) ?? "-",
        name(function.identity.interface), state.readiness.rawValue, state.use,
      ])
    }
    return isVerbose ? table.text + functions.map(details).joined() : table.text
  }

  static func json(_ functions: [FunctionState]) -> String {
    JSONWriter.object { root in
      root.value("schema", schema)
      root.array("functions") { list in
        for function in functions { list.object { add(function, to: &$0) } }
      }
    }
  }

  private static func add(_ state: FunctionState, to object: inout JSONWriter) {
    let function = state.scanned
    let identity = function.identity
    object.value("address", identity.address.description)
    object.value("vendor_id", identity.vendor)
    object.value("device_id", identity.device)
    object.value("subsystem_vendor_id", identity.subsystemVendor)
    object.value("subsystem_device_id", identity.subsystemDevice)
    object.value("class", identity.classCode)
    object.value("revision", identity.revision)
    object.value("interface", name(identity.interface))
    object.value("driver", function.kernelDriver)
    object.value("iommu_group", function.iommuGroup)
    object.value("numa_node", function.numaNode)
    object.value("disk", function.blockNode)
    object.value("size_bytes", function.byteCount)
    object.value("in_use", function.use != .free)
    object.value("ready", state.readiness == .yes)
    object.value("held_by", state.holder?.process)
    object.array("siblings") { list in
      for sibling in state.siblings { list.value(nil, sibling.address) }
    }
    object.array("use") { list in
      for reason in function.use.reasons { list.value(nil, reason.description) }
    }
    object.array("bars") { list in
      for bar in identity.bars {
        list.object { item in
          item.value("index", bar.index)
          item.value("base", bar.base)
          item.value("size_bytes", bar.byteCount)
          item.value("io", bar.isIO)
          item.value("prefetchable", bar.isPrefetchable)
        }
      }
    }
  }

  private static func details(_ state: FunctionState) -> String {
    let function = state.scanned
    let identity = function.identity
    var lines = [
      "\n\(identity.address)",
      "  subsystem  \(hex(identity.subsystemVendor)):\(hex(identity.subsystemDevice))",
      "  class      \(hex(identity.classCode, 6)), revision \(identity.revision)",
    ]
    for bar in identity.bars {
      let kind = bar.isIO ? "ports" : bar.is64Bit ? "64-bit memory" : "32-bit memory"
      lines.append(
        "  BAR \(bar.index)      \(ByteSize.describe(bar.byteCount)) of \(kind) at "
          + "0x\(String(bar.base, radix: 16))")
    }
    if !state.siblings.isEmpty {
      lines.append("  group with \(state.siblings.map(\.description).joined(separator: ", "))")
    }
    if let holder = state.holder { lines.append("  held by    \(holder), by \(holder.path)") }
    for reason in function.use.reasons { lines.append("  in use     \(reason)") }
    if function.use == .free { lines.append("  use        none found") }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func name(_ interface: PCIIdentity.Interface) -> String {
    switch interface {
    case .modern: "modern"
    case .legacyOnly: "legacy-only"
    case .unknown: "unknown"
    }
  }

  private static func id(_ identity: PCIIdentity) -> String {
    "\(hex(identity.vendor)):\(hex(identity.device))"
  }

  private static func hex(_ value: some BinaryInteger, _ width: Int = 4) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - text.count)) + text
  }
}
