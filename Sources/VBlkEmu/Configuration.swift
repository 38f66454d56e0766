public import Virtio

extension EmulatedDisk {
  /// Where the contents of a disk are.
  public enum Contents: Equatable, Sendable {
    /// Sparse memory of this many bytes, all zero at first.
    case memory(byteCount: UInt64)
    /// The raw image at a path; its size is the disk's. Read-only with
    /// ``Configuration/readOnly``.
    case file(path: String)
    /// This many bytes that aren't there: requests are answered at once and no data moves.
    case null(byteCount: UInt64)
  }

  /// Who serves the queues.
  public enum Mode: Equatable, Sendable {
    /// The doorbell call itself, in the driver's thread.
    case inline
    /// A thread of the disk's, which polls, and sleeps when there is nothing to do.
    case threaded
    /// Nobody: each step is a call, for tests.
    case stepped
  }

  /// As which kind of virtio function a disk shows itself (virtio 1.2, 4.1.2).
  public enum Identity: Equatable, Sendable {
    /// 1af4:1042.
    case modern
    /// 1af4:1001 of revision 0, with the capabilities by which a modern driver drives it.
    case transitional
    /// 1af4:1001 without a virtio capability: no modern driver can drive it.
    case legacy
  }

  /// What a disk is like. All of it is fixed when the disk is made, but what
  /// ``EmulatedDisk`` has a call for.
  public struct Configuration: Equatable, Sendable {
    /// Where the contents are.
    public var contents: Contents
    /// Who serves the queues.
    public var mode: Mode = .inline
    /// Request queues, 1-64.
    public var queues = 1
    /// Most entries of a queue: a power of two, 1-32,768, or any number of them where packed rings
    /// are offered.
    public var queueSize = 256
    /// Logical block in bytes: a power of two, 512-65,536.
    public var blockSize: UInt32 = 512
    /// Most data segments of a request; nil is not offered.
    public var segMax: UInt32? = 126
    /// Most bytes of a segment; nil is not offered, 0 is offered as 0.
    public var sizeMax: UInt32?
    /// Refuses every write; the image is opened for reading only.
    public var readOnly = false
    /// The answer to GET_ID: 20 bytes at most, padded with NUL.
    public var serial = "vblk-emu"
    /// Features that are not offered, of those that the disk has.
    public var withheld: Features = []
    /// Features that are offered of ``onRequest``, the others being so without.
    public var extra: Features = []
    /// Whether a batch is answered by one used entry, where IN_ORDER is negotiated; else each
    /// request has its own.
    public var inOrderBatches = true
    /// Most sectors of one discard segment.
    public var maxDiscardSectors: UInt32 = 1 << 21
    /// Most segments of one discard.
    public var maxDiscardSegments: UInt32 = 32
    /// Alignment of a discard in sectors, as reported.
    public var discardSectorAlignment: UInt32 = 8
    /// Most sectors of one write-zeroes segment.
    public var maxWriteZeroesSectors: UInt32 = 1 << 21
    /// Most segments of one write-zeroes.
    public var maxWriteZeroesSegments: UInt32 = 32
    /// Most sectors of one secure-erase segment.
    public var maxSecureEraseSectors: UInt32 = 1 << 21
    /// Most segments of one secure erase.
    public var maxSecureEraseSegments: UInt32 = 32
    /// Alignment of a secure erase in sectors, as reported; a zoned disk reports its zones.
    public var secureEraseSectorAlignment: UInt32 = 8
    /// The answer to GET_LIFETIME: pre_eol_info and the estimates of types A and B.
    public var lifetime: [UInt16] = [1, 1, 1]
    /// The zones; nil is a disk that doesn't know of any. A host-managed disk has no discard.
    public var zones: Zones?
    /// Whether the write cache starts as write-back.
    public var writeback = true
    /// Whether the volatile cache is modelled: ``EmulatedDisk/cutPower(_:)`` can lose what no flush
    /// has covered. Not with zones, nor with null contents.
    public var modelsCache = false
    /// MSI-X vectors; nil is one a queue and one for the configuration, 0 is no MSI-X.
    public var interruptVectors: Int?
    /// In which order the requests of a batch complete, where IN_ORDER isn't negotiated.
    public var completionOrder = CompletionOrder.inOrder
    /// The faults that requests meet from the start.
    public var faults: [FaultRule] = []
    /// The seed of the fault rules' probabilities.
    public var seed: UInt64 = 1
    /// The ways in which the device misbehaves from the start.
    public var hostility: Hostility = []
    /// The mistakes that the device makes, to prove tests by.
    public var defects: Defects = []
    /// Bytes that the device configuration shows in place of the true ones, by offset.
    public var configOverrides: [Int: UInt8] = [:]
    /// Bytes of the device configuration that exist; nil is what the features need.
    public var configByteCount: Int?
    /// As which kind of virtio function the disk shows itself.
    public var identity = Identity.modern
    /// Whether the BARs can be reached; else only the PCI_CFG window leads to the registers.
    public var reachesRegions = true
    /// The device addresses that the emulated IOMMU maps, whole pages below 2^48.
    public var addressRanges: [ClosedRange<UInt64>] = [0x1_0000_0000...0xFF_FFFF_FFFF]
    /// Whether a watchdog names the rules that the driver breaks: ``EmulatedDisk/breaches``.
    public var watchdog = false
    /// The function's name, for errors.
    public var name = "emu"

    /// A disk with these contents and the defaults for the rest.
    public init(_ contents: Contents) { self.contents = contents }

    /// Takes a feature off the offer by the name that the specification gives it, in any case and
    /// with `-` for `_`: "event-idx".
    ///
    /// - Throws: ``EmulatorError`` that lists the names.
    public mutating func withhold(named name: String) throws(EmulatorError) {
      withheld.insert(try Configuration.feature(name, of: Configuration.possible))
    }

    /// Offers a feature of ``onRequest`` by its name, as for ``withhold(named:)``: "ring-packed",
    /// or "packed" for short.
    ///
    /// - Throws: ``EmulatorError`` that lists the names.
    public mutating func offer(named name: String) throws(EmulatorError) {
      let name = name == "packed" ? "ring-packed" : name
      extra.insert(try Configuration.feature(name, of: Configuration.onRequest))
    }

    private static func feature(
      _ name: String, of features: Features
    ) throws(EmulatorError) -> Features {
      let wanted = name.uppercased().map { $0 == "-" ? "_" : $0 }
      guard
        let entry = Features.names.first(where: {
          Array($0.name) == wanted && features.contains(.bit($0.bit))
        })
      else {
        let names = features.described.map { $0.lowercased() }
        throw EmulatorError(
          .invalidArgument, "\(name) is no such feature of an emulated disk",
          remedy: "choose one of " + names.joined(separator: ", "))
      }
      return .bit(entry.bit)
    }

    /// Every feature that a disk can have.
    public static let possible: Features = onRequest.union([
      .sizeMax, .segMax, .readOnly, .blockSize, .flush, .configWriteCache, .multiQueue, .discard,
      .writeZeroes, .indirectDescriptors, .eventIndex, .version1, .accessPlatform, .zoned,
    ])

    /// Features that a disk offers only when asked to, in ``extra``.
    public static let onRequest: Features = [
      .ringPacked, .inOrder, .ringReset, .notificationData, .notificationConfigData,
      .orderPlatform, .suspend, .lifetime, .secureErase,
    ]

    /// The features that the disk offers.
    public var offered: Features {
      let unasked = Configuration.onRequest.subtracting(extra)
      var features = Configuration.possible.subtracting(unasked).subtracting(withheld)
      if sizeMax == nil, !hostility.contains(.sizeMaxTiny) { features.remove(.sizeMax) }
      if segMax == nil { features.remove(.segMax) }
      if !readOnly { features.remove(.readOnly) }
      if zones == nil { features.remove(.zoned) }
      if features.contains(.zoned), zones?.model == .hostManaged { features.remove(.discard) }
      features = features.withoutOrphans
      if hostility.contains(.orphanedFeatures) {
        features.remove(.flush)
        features.insert(.configWriteCache)
      }
      if hostility.contains(.topologyAbsurd) { features.insert(.topology) }
      if hostility.contains(.withoutVersion1) { features.remove(.version1) }
      return features
    }

    /// Bytes of the common configuration: up to the last register that a feature adds.
    var commonByteCount: UInt64 {
      let added: Features = [.ringReset, .notificationConfigData]
      return added.isDisjoint(with: offered)
        ? UInt64(VirtioPCI.commonConfigMinimum) : CommonConfig.queueReset + 2
    }

    /// MSI-X vectors.
    var vectorCount: Int { interruptVectors ?? queues + 1 }

    /// Checks everything that doesn't need the system.
    func check() throws(EmulatorError) {
      try require((1...Limits.queues).contains(queues), "queues", queues, "1 to \(Limits.queues)")
      let packed = offered.contains(.ringPacked)
      try require(
        QueueAreas.isLegal(size: queueSize, packed: packed), "queue size", queueSize,
        "\(packed ? "any number" : "a power of two"), 1 to \(Limits.queueSize)")
      try require(
        blockSize >= 512 && blockSize <= 65_536 && blockSize & (blockSize - 1) == 0, "block size",
        blockSize, "a power of two, 512 to 65536")
      try require(segMax != 0 || hostility.contains(.segMaxZero), "seg_max", 0, "1 or more")
      try require(serial.utf8.count <= 20, "serial of bytes", serial.utf8.count, "at most 20 bytes")
      try require(
        (0...Limits.vectors).contains(vectorCount), "interrupt vectors", vectorCount,
        "0 to \(Limits.vectors)")
      try require(lifetime.count == 3, "numbers of a lifetime", lifetime.count, "3 of them")
      let segments = max(maxDiscardSegments, maxWriteZeroesSegments, maxSecureEraseSegments)
      try require(
        segments <= Limits.rangeSegments, "segments of a request of ranges", segments,
        "at most \(Limits.rangeSegments)")
      try require(
        configByteCount.map { (8...96).contains($0) } ?? true, "bytes of configuration",
        configByteCount ?? 0, "8 to 96")
      var isNull = false
      if case .null = contents { isNull = true }
      try require(
        !modelsCache || (!isNull && offeredZones == nil), "a modelled cache of a disk", name,
        "a disk with contents, without zones")
      for range in addressRanges {
        try require(
          range.upperBound >> Limits.addressBits == 0 && range.lowerBound % 4096 == 0
            && range.upperBound % 4096 == 4095, "device addresses", range.upperBound,
          "whole pages below 2^\(Limits.addressBits)")
      }
      try require(!addressRanges.isEmpty, "ranges of device addresses", 0, "1 or more")
    }

    private func require(
      _ good: Bool, _ what: String, _ value: some CustomStringConvertible, _ allowed: String
    ) throws(EmulatorError) {
      guard good else {
        throw EmulatorError(.invalidArgument, "\(what) \(value)", remedy: "choose \(allowed)")
      }
    }
  }
}
