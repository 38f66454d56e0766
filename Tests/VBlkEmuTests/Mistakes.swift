import VBlkEmu

extension EmulatedDisk.Configuration {
  /// A name that is no defect's.
  struct UnknownMistake: Error {
    let name: String
  }

  /// Hostile switches that stand for rows of the device checklist too.
  private static let hostile: [String: Hostility] = [
    "capabilityMissing": .capabilityMissing, "capabilityOutsideBar": .capabilityOutsideBar,
    "featuresChange": .featuresChange, "queueSizeOdd": .queueSizeOdd,
    "resetNeverEnds": .resetNeverEnds, "withoutVersion1": .withoutVersion1,
    "orphanedFeatures": .orphanedFeatures, "usedLengthTooLong": .usedLengthTooLong,
    "neverNotifies": .neverNotifies, "suppressesKicks": .suppressesKicks,
    "usedFlagsGarbage": .usedFlagsGarbage, "queueResetNeverEnds": .queueResetNeverEnds,
  ]

  /// Switches the defect of that name on.
  mutating func makeMistake(_ name: String) throws {
    if let entry = Defects.names.first(where: { $0.name == name }) {
      defects.insert(entry.defect)
    } else if let switches = Self.hostile[name] {
      hostility.insert(switches)
    } else {
      throw UnknownMistake(name: name)
    }
  }
}
