import Virtio

/// A data segment as the device sees it.
struct DeviceSegment {
  var address: UInt64
  var byteCount: UInt32
}

/// Descriptor chains: what is written once for a slot, and what a request changes.
///
/// A plain chain is header, one data segment, status. With INDIRECT_DESC it is a table of the
/// slot's own, without it a triple of ring descriptors; only the data descriptor changes from
/// request to request. A chain of another shape uses the slot's long table, or triples lent by free
/// slots, and ``prewrite(_:)`` restores the slot afterwards. All writes; nothing is ever read back.
extension QueueMemory {
  private func requestOffset(_ head: UInt32) -> Int {
    layout.requestsOffset + RequestArea.stride * Int(head)
  }

  private func ringDescriptor(_ index: UInt32) -> UnsafeMutableRawPointer {
    ring.descriptors + 16 * Int(index)
  }

  private func plainTable(_ head: UInt32) -> Int { requestOffset(head) + RequestArea.tableOffset }

  private func longTable(_ head: UInt32) -> Int {
    layout.tablesOffset + layout.tableStride * Int(head)
  }

  /// The data descriptor of the slot's plain chain.
  func dataDescriptor(_ head: UInt32) -> UnsafeMutableRawPointer {
    layout.isIndirect ? base + plainTable(head) + 16 : ringDescriptor(head + 1)
  }

  /// Device address of the slot's 48-byte payload: a range, or an answer.
  func payloadAddress(_ head: UInt32) -> UInt64 {
    deviceBase + UInt64(requestOffset(head) + RequestArea.payloadOffset)
  }

  /// The same, for the processor.
  func payload(_ head: UInt32) -> UnsafeMutableRawPointer {
    base + requestOffset(head) + RequestArea.payloadOffset
  }

  private func headerDescriptor(_ head: UInt32, next: UInt16) -> Descriptor {
    Descriptor(
      address: deviceBase + UInt64(requestOffset(head)), length: RequestHeader.byteCount,
      flags: .next, next: next)
  }

  private func statusDescriptor(_ head: UInt32) -> Descriptor {
    Descriptor(
      address: deviceBase + UInt64(requestOffset(head) + RequestArea.statusOffset), length: 1,
      flags: .write, next: 0)
  }

  private func store(_ descriptor: Descriptor, at place: UnsafeMutableRawPointer) {
    place.storeBytes(of: descriptor, as: Descriptor.self)
  }

  /// Writes the slot's plain chain.
  func prewrite(_ head: UInt32) {
    if layout.isIndirect {
      let table = base + plainTable(head)
      store(headerDescriptor(head, next: 1), at: table)
      store(Descriptor(address: 0, length: 0, flags: .next, next: 2), at: table + 16)
      store(statusDescriptor(head), at: table + 32)
      pointRing(head, toTable: plainTable(head), entries: 3)
    } else {
      let first = UInt16(head)
      store(headerDescriptor(head, next: first + 1), at: ringDescriptor(head))
      store(
        Descriptor(address: 0, length: 0, flags: .next, next: first + 2),
        at: ringDescriptor(head + 1))
      store(statusDescriptor(head), at: ringDescriptor(head + 2))
    }
  }

  private func pointRing(_ head: UInt32, toTable offset: Int, entries: Int) {
    store(
      Descriptor(
        address: deviceBase + UInt64(offset), length: UInt32(16 * entries), flags: .indirect,
        next: 0),
      at: ringDescriptor(head))
  }

  /// Writes a chain of `segments` data segments, none or several, into the slot's long table.
  func writeTable(_ head: UInt32, segments: Int, deviceWrites: Bool) {
    let table = base + longTable(head)
    store(headerDescriptor(head, next: 1), at: table)
    for index in 0..<segments {
      store(
        dataDescriptor(scratch[index], deviceWrites: deviceWrites, next: UInt16(index + 2)),
        at: table + 16 * (index + 1))
    }
    store(statusDescriptor(head), at: table + 16 * (segments + 1))
    pointRing(head, toTable: longTable(head), entries: segments + 2)
  }

  /// Writes a chain of several data segments into the slot's triple and the triples lent to it, or
  /// of none into the triple alone. `lent` is the first slot lent to it; the others follow by
  /// `next`.
  func writeTriples(_ head: UInt32, segments: Int, lent: UInt32, deviceWrites: Bool) {
    let status = UInt16(head) + 2
    guard segments > 0 else {
      store(headerDescriptor(head, next: status), at: ringDescriptor(head))
      return
    }
    var triple = head
    var place: UInt32 = 1
    var nextTriple = lent
    for index in 0..<segments {
      let here = triple + place
      place += 1
      if place == 3 || triple == head {
        triple = nextTriple
        nextTriple = triple == BioRecord.none ? triple : records[Int(triple)].next
        place = 0
      }
      let next = index == segments - 1 ? status : UInt16(truncatingIfNeeded: triple &+ place)
      store(
        dataDescriptor(scratch[index], deviceWrites: deviceWrites, next: next),
        at: ringDescriptor(here))
    }
  }

  private func dataDescriptor(
    _ segment: DeviceSegment, deviceWrites: Bool, next: UInt16
  ) -> Descriptor {
    Descriptor(
      address: segment.address, length: segment.byteCount,
      flags: deviceWrites ? [.next, .write] : .next, next: next)
  }
}
