internal import Virtio

/// What the requests do (virtio 1.2, 5.2.6): checked first, whole, then done.
extension DeviceQueue {
  /// Does what `request` asks and leaves its status; nothing is written to the ring.
  mutating func execute(_ request: inout Request) {
    guard request.framing == .complete else { return }
    let status: RequestStatus
    let negotiates = !interposition.defects.contains(.negotiationIgnored)
    let features = negotiates ? features : Features(rawValue: .max)
    switch RequestType(rawValue: request.type) {
    case .read: status = executeRead(&request)
    case .write: status = executeWrite(&request)
    case .flush where features.contains(.flush): status = executeFlush()
    case .getID: status = executeAnswer(&request, serial)
    case .getLifetime where features.contains(.lifetime):
      status = executeAnswer(&request, lifetime)
    case .discard where features.contains(.discard): status = executeRanges(&request, .discard)
    case .writeZeroes where features.contains(.writeZeroes):
      status = executeRanges(&request, .writeZeroes)
    case .secureErase where features.contains(.secureErase):
      status = executeRanges(&request, .secureErase)
    case .some(let type) where type.isZoned && features.contains(.zoned):
      status = executeZoned(&request, type)
    default: status = interposition.defects.contains(.unknownSucceeds) ? .ok : .unsupported
    }
    request.status = status.rawValue
    request.wroteAllData = request.dataWritten == request.writableBytes
  }

  /// Whether `byteCount` bytes from `sector` on are whole sectors inside the disk, without
  /// overflow (virtio 1.2, 5.2.6.2).
  func isInside(sector: UInt64, byteCount: UInt64) -> Bool {
    byteCount % Sector.byteCount == 0
      && isInside(sector: sector, sectorCount: byteCount >> Sector.shift)
  }

  /// Whether `sectorCount` sectors from `sector` on are inside the disk, without overflow.
  func isInside(sector: UInt64, sectorCount: UInt64) -> Bool {
    sector <= capacitySectors && sectorCount <= capacitySectors - sector
  }

  private mutating func executeRead(_ request: inout Request) -> RequestStatus {
    guard request.readableBytes == 0,
      isInside(sector: request.sector, byteCount: request.writableBytes)
    else { return .ioError }
    var written = request.writableBytes
    if let zones = activeZones {
      let check = checkZonedRead(request, zones)
      guard check.status == .ok else { return check.status }
      written = check.written
    }
    trace(request.writable, request, .deviceWrites)
    guard translate(request.writable, .deviceWrites) else { return unmapped(request) }
    let error = store.transfer(
      hostSegments, at: request.sector << Sector.shift, writing: false)
    guard error == 0 else { return storeFailed(error) }
    if written < request.writableBytes { zeroSegments(from: written) }
    request.dataWritten = request.writableBytes
    counters.bytes &+= request.writableBytes
    return .ok
  }

  private mutating func executeWrite(_ request: inout Request) -> RequestStatus {
    guard !readOnly || interposition.defects.contains(.readOnlyIgnored),
      request.writableBytes == 0,
      isInside(sector: request.sector, byteCount: request.readableBytes)
    else { return .ioError }
    trace(request.dataIn, request, .deviceReads)
    guard translate(request.dataIn, .deviceReads) else { return unmapped(request) }
    if let zones = activeZones { return writeZoned(request, zones) }
    let offset = request.sector << Sector.shift
    let error = changeStore(Int(request.readableBytes), at: offset) {
      store.transfer(hostSegments, at: offset, writing: true)
    }
    guard error == 0 else { return storeFailed(error) }
    counters.bytes &+= request.readableBytes
    return writeThrough ? executeFlush() : .ok
  }

  mutating func executeFlush() -> RequestStatus {
    if interposition.defects.contains(.flushLies) { return .ok }
    counters.flushes &+= 1
    var error = store.flush()
    if error == 0 { error = zones?.flush() ?? 0 }
    guard error == 0 else { return storeFailed(error) }
    cache?.flush()
    return .ok
  }

  /// Changes `count` bytes of the store by `body`, so that a power cut can take it back.
  ///
  /// - Returns: An errno, 0 for none.
  func changeStore(_ count: Int, at offset: UInt64, _ body: () -> CInt) -> CInt {
    guard let cache else { return body() }
    return cache.write(count, at: offset, in: store, body)
  }

  /// The zones, where driver and device have agreed on them.
  var activeZones: ZoneSet? { features.contains(.zoned) ? zones : nil }

  /// A request whose whole answer is known before it comes.
  private mutating func executeAnswer(
    _ request: inout Request, _ answer: [UInt8]
  ) -> RequestStatus {
    guard request.writableBytes >= UInt64(answer.count), request.readableBytes == 0 else {
      return .ioError
    }
    trace(request.writable, request, .deviceWrites)
    guard copyOut(answer, request.writable) else { return unmapped(request) }
    request.dataWritten = UInt64(answer.count)
    return .ok
  }

  /// The outcome of data outside the mapped memory [hostile driver 8].
  mutating func unmapped(_ request: Request) -> RequestStatus {
    report(
      .bufferUnmapped, .requestFailed, at: UInt64(request.head), value: UInt64(request.type))
    return .ioError
  }

  /// The outcome of an errno of the store, which is kept for whoever asks.
  @inline(never)
  mutating func storeFailed(_ error: CInt) -> RequestStatus {
    reports.lastStoreError = error
    reports.storeErrors &+= 1
    return .ioError
  }

  /// Notes the data segments of a request, as the driver described them, while tracing.
  mutating func trace(
    _ segments: some Collection<DataSegment>, _ request: Request,
    _ direction: DMAFault.Direction
  ) {
    guard interposition.tracing else { return }
    for segment in segments {
      guard reports.transfers.count < Limits.traceEntries else {
        reports.lostTransfers &+= 1
        continue
      }
      reports.transfers.append(
        DMATransfer(
          deviceAddress: segment.address, byteCount: Int(segment.length), direction: direction,
          requestType: request.type, request: request.number, queue: index))
    }
  }
}

extension DeviceQueue {
  /// Whether each write is durable before it completes (virtio 1.2, 5.2.6.2); where nothing is
  /// ever durable, it makes no difference.
  mutating func setWriteThrough(_ wanted: Bool) {
    let isDurable = if case .file = store { true } else { cache != nil }
    writeThrough = wanted && isDurable && !interposition.defects.contains(.neverThrough)
  }
}
