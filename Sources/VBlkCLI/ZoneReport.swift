internal import VBlk

/// What `vblk zones` says.
enum ZoneReport {
  static func text(_ opened: OpenedDevice, _ zones: [Zone]) -> String {
    var table = TextTable([
      ("ZONE", .right), ("START", .right), ("CAPACITY", .right), ("POINTER", .right),
      ("TYPE", .left), ("STATE", .left),
    ])
    for zone in zones {
      table.add([
        "\(index(zone, opened))", "\(zone.start)", "\(zone.capacity)",
        zone.writePointer.map(String.init) ?? "-", name(zone.kind), name(zone.state),
      ])
    }
    return table.text
  }

  static func json(_ opened: OpenedDevice, _ zones: [Zone]) -> String {
    JSONWriter.object { root in
      root.value("schema", "vblk.zones/1")
      root.value("device", opened.name)
      if let zoned = opened.device.info.limits.zoned {
        root.value("model", zoned.model == .hostManaged ? "host-managed" : "host-aware")
        root.value("zone_bytes", zoned.zoneByteCount)
        root.value("max_open_zones", zoned.maxOpenZones)
        root.value("max_active_zones", zoned.maxActiveZones)
        root.value("max_append_bytes", zoned.maxAppendBytes)
        root.value("write_granularity_bytes", zoned.writeGranularity)
      }
      root.array("zones") { list in
        for zone in zones {
          list.object { object in
            object.value("zone", index(zone, opened))
            object.value("start_sector", zone.start / ByteSize.sector)
            object.value("capacity_sectors", zone.capacity / ByteSize.sector)
            object.value("write_pointer_sector", zone.writePointer.map { $0 / ByteSize.sector })
            object.value("type", name(zone.kind))
            object.value("state", name(zone.state))
          }
        }
      }
    }
  }

  static func text(_ appends: [(sector: UInt64, byteCount: Int)]) -> String {
    appends.map { "sector \($0.sector), \($0.byteCount) bytes\n" }.joined()
  }

  static func json(
    _ opened: OpenedDevice, zone: UInt64, _ appends: [(sector: UInt64, byteCount: Int)]
  ) -> String {
    JSONWriter.object { root in
      root.value("schema", "vblk.zones.append/1")
      root.value("device", opened.name)
      root.value("zone_start_sector", zone / ByteSize.sector)
      root.array("appends") { list in
        for append in appends {
          list.object { object in
            object.value("sector", append.sector)
            object.value("byte_count", append.byteCount)
          }
        }
      }
    }
  }

  private static func index(_ zone: Zone, _ opened: OpenedDevice) -> UInt64 {
    zone.start / max(1, opened.device.info.limits.zoned?.zoneByteCount ?? 1)
  }

  private static func name(_ kind: Zone.Kind) -> String {
    switch kind {
    case .conventional: "conventional"
    case .sequentialWriteRequired: "sequential-required"
    case .sequentialWritePreferred: "sequential-preferred"
    }
  }

  private static func name(_ state: Zone.State) -> String {
    switch state {
    case .notWritePointer: "not-wp"
    case .empty: "empty"
    case .implicitlyOpen: "implicitly-open"
    case .explicitlyOpen: "explicitly-open"
    case .closed: "closed"
    case .readOnly: "read-only"
    case .full: "full"
    case .offline: "offline"
    }
  }
}
