internal import VBlk

/// What `vblk info` says of a device.
enum DeviceReport {
  static let schema = "vblk.info/1"

  static func text(_ opened: OpenedDevice, serial: String, isVerbose: Bool = false) -> String {
    let info = opened.device.info
    let limits = info.limits
    let memory = opened.device.memory
    let names = FeatureNames(info)
    var rows: [(String, String)] = [
      ("device", opened.name),
      ("way", opened.way),
      ("serial", serial),
      ("capacity", "\(info.capacityBytes) bytes (\(ByteSize.describe(info.capacityBytes)))"),
      ("read-only", info.isReadOnly ? "yes" : "no"),
      (
        "cache",
        opened.device.writeCache == .writeBack
          ? "write-back: flush makes writes durable" : "write-through"
      ),
      ("block", "\(limits.logicalBlockSize) bytes, physical \(limits.physicalBlockSize)"),
      (
        "segments",
        "\(limits.maxSegments) a request, \(ByteSize.describe(UInt64(limits.maxSegmentSize))) each"
      ),
      ("discard", operation(limits.maxDiscardBytes)),
      ("write zeroes", operation(limits.maxWriteZeroesBytes)),
      ("secure erase", operation(limits.secureErase.maxBytes)),
      (
        "queues",
        "\(info.queueSizes.count) set up of \(info.availableQueues), sizes "
          + info.queueSizes.map(String.init).joined(separator: ", ")
          + ", \(info.depth) requests in flight each"
      ),
      ("offered", names.offered.joined(separator: " ")),
      ("accepted", names.accepted.joined(separator: " ")),
      (
        "DMA memory",
        "\(ByteSize.describe(UInt64(memory.byteCount))) in pages of "
          + "\(ByteSize.describe(UInt64(memory.pageByteCount))), NUMA node "
          + (memory.kernelNode.map(String.init) ?? "not said")
      ),
    ]
    if isVerbose { rows += info.regions.map(region) }
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { name, value in
      "\(name)\(String(repeating: " ", count: width - name.count))  \(value)\n"
    }.joined()
  }

  static func json(_ opened: OpenedDevice, serial: String) -> String {
    let info = opened.device.info
    let limits = info.limits
    let names = FeatureNames(info)
    return JSONWriter.object { root in
      root.value("schema", schema)
      root.value("device", opened.name)
      root.value("way", opened.way)
      root.value("serial", serial)
      root.value("capacity_bytes", info.capacityBytes)
      root.value("read_only", info.isReadOnly)
      root.value("volatile_cache", opened.device.writeCache == .writeBack)
      root.object("limits") { object in
        object.value("block_bytes", limits.logicalBlockSize)
        object.value("physical_block_bytes", limits.physicalBlockSize)
        object.value("segments_max", limits.maxSegments)
        object.value("segment_bytes_max", limits.maxSegmentSize)
        object.value("discard_bytes_max", limits.maxDiscardBytes)
        object.value("discard_alignment_bytes", limits.discardAlignment)
        object.value("write_zeroes_bytes_max", limits.maxWriteZeroesBytes)
        object.value("secure_erase_bytes_max", limits.secureErase.maxBytes)
        object.value("secure_erase_alignment_bytes", limits.secureErase.alignment)
      }
      root.object("queues") { object in
        object.value("available", info.availableQueues)
        object.value("depth", info.depth)
        object.array("sizes") { list in for size in info.queueSizes { list.value(nil, size) } }
      }
      root.object("features") { object in
        object.array("offered") { list in for name in names.offered { list.value(nil, name) } }
        object.array("accepted") { list in for name in names.accepted { list.value(nil, name) } }
      }
      root.value("numa_node", info.numaNode)
      root.array("regions") { list in
        for region in info.regions {
          list.object { item in
            item.value("index", region.index)
            item.value("size_bytes", region.byteCount)
            item.value("way", region.way)
            item.array("mapped") { parts in
              for part in region.mapped {
                parts.object { bounds in
                  bounds.value("offset", part.lowerBound)
                  bounds.value("size_bytes", part.upperBound - part.lowerBound)
                }
              }
            }
          }
        }
      }
      root.array("arenas") { list in
        for (use, memory) in arenas(opened.device) {
          list.object { arena in
            arena.value("use", use)
            arena.value("size_bytes", memory.byteCount)
            arena.value("page_bytes", memory.pageByteCount)
            arena.value("numa_node", memory.kernelNode)
            arena.value("locked", memory.isLocked)
          }
        }
      }
    }
  }

  /// "16 KiB, mapped by libpciaccess: 0x0-0x3fff".
  private static func region(_ region: PCIRegion) -> (String, String) {
    let parts = region.mapped.map { part in
      "0x\(String(part.lowerBound, radix: 16))-0x\(String(part.upperBound - 1, radix: 16))"
    }
    return (
      "BAR \(region.index)",
      "\(ByteSize.describe(region.byteCount)), \(region.way)"
        + (parts.isEmpty ? "" : ": " + parts.joined(separator: ", "))
    )
  }

  private static func arenas(_ device: Device) -> [(use: String, memory: DMAArena)] {
    [("buffers", device.memory), ("rings", device.ringMemory)]
  }

  private static func operation(_ byteCount: Int) -> String {
    byteCount == 0 ? "no" : "up to \(ByteSize.describe(UInt64(byteCount))) a request"
  }
}
