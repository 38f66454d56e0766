import Testing
import Virtio

@Suite struct FeatureTests {
  /// Bit, name and constant of each feature, as facts/virtio.md §0.1 and §0.2 have them.
  static let table: [(Int, String, Features)] = [
    (1, "SIZE_MAX", .sizeMax), (2, "SEG_MAX", .segMax), (4, "GEOMETRY", .geometry),
    (5, "RO", .readOnly), (6, "BLK_SIZE", .blockSize), (9, "FLUSH", .flush),
    (10, "TOPOLOGY", .topology), (11, "CONFIG_WCE", .configWriteCache), (12, "MQ", .multiQueue),
    (13, "DISCARD", .discard), (14, "WRITE_ZEROES", .writeZeroes), (15, "LIFETIME", .lifetime),
    (16, "SECURE_ERASE", .secureErase), (17, "ZONED", .zoned),
    (28, "INDIRECT_DESC", .indirectDescriptors), (29, "EVENT_IDX", .eventIndex),
    (32, "VERSION_1", .version1), (33, "ACCESS_PLATFORM", .accessPlatform),
    (34, "RING_PACKED", .ringPacked), (35, "IN_ORDER", .inOrder),
    (36, "ORDER_PLATFORM", .orderPlatform), (37, "SR_IOV", .singleRootIOV),
    (38, "NOTIFICATION_DATA", .notificationData),
    (39, "NOTIF_CONFIG_DATA", .notificationConfigData), (40, "RING_RESET", .ringReset),
    (43, "SUSPEND", .suspend),
  ]

  @Test("5.2.3 and 6 every feature has its bit and its name")
  func bits() {
    for (bit, name, feature) in Self.table {
      #expect(feature.rawValue == 1 << UInt64(bit), "\(name)")
      #expect(feature == Features.bit(bit))
      #expect(feature.described == [name])
    }
    #expect(Features.names.map(\.bit) == Self.table.map(\.0))
    #expect(Features.names.map(\.name) == Self.table.map(\.1))
  }

  @Test("the names of a set come lowest first; an unknown bit has its number")
  func names() {
    #expect(Features([]).described.isEmpty)
    let some: Features = [.version1, .flush, .bit(63), .bit(0)]
    #expect(some.described == ["bit 0", "FLUSH", "VERSION_1", "bit 63"])
  }

  @Test("2.2 CONFIG_WCE goes without FLUSH, and nothing else goes")
  func orphans() {
    let all = Features(rawValue: .max)
    #expect(all.withoutOrphans == all)
    #expect(all.subtracting(.flush).withoutOrphans == all.subtracting([.flush, .configWriteCache]))
    for (_, name, feature) in Self.table where feature != .flush {
      let without = all.subtracting(feature)
      #expect(without.withoutOrphans == without, "\(name)")
    }
    #expect(Features.configWriteCache.withoutOrphans == [])
    let both: Features = [.flush, .configWriteCache]
    #expect(both.withoutOrphans == both)
  }

  @Test("4.1.5.2.1 NOTIF_CONFIG_DATA stands alone: it has a meaning without NOTIFICATION_DATA")
  func notificationConfigDataAlone() {
    #expect(Features.notificationConfigData.withoutOrphans == .notificationConfigData)
  }
}
