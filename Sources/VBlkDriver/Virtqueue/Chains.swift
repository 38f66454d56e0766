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
/// slots, and ``restore(_:)`` makes the slot plain again. All writes; nothing is ever read back.
///
/// In a packed ring, and with IN_ORDER, a request's descriptors are written anew at the ring's next
/// positions, so that only tables can be prewritten; slots are lent all the same, for the positions
/// that go with them.
extension QueueMemory {
  /// Writes the slot's plain chain.
  func prewrite(_ head: UInt32) {
    guard layout.isIndirect || !layout.isPositional else { return }
    let first = layout.isIndirect ? 0 : UInt16(head)
    let chain =
      layout.isIndirect ? requests[head].table : ring.descriptors.part(at: Int(head), count: 3)
    store(headerDescriptor(head, next: first + 1), in: chain, at: 0)
    store(Descriptor(address: 0, length: 0, flags: .next, next: first + 2), in: chain, at: 1)
    store(tailDescriptor(head, .read), in: chain, at: 2)
    if layout.isIndirect { pointRing(head, to: chain) }
  }

  /// Makes the slot's chain plain again after one of another shape. A long table has left the plain
  /// one as it was.
  func restore(_ head: UInt32) {
    if layout.isIndirect { pointRing(head, to: requests[head].table) } else { prewrite(head) }
  }

  /// Writes a chain of `segments` data segments, none or several, into the slot's long table.
  ///
  /// - Returns: The table.
  @discardableResult
  func writeTable(_ head: UInt32, segments: Int, _ operation: Operation) -> DescriptorTable {
    let table = longTable(head).part(at: 0, count: segments + 2)
    store(headerDescriptor(head, next: 1), in: table, at: 0)
    // Above the length stand id and flags in a packed ring's table, else flags and next.
    let flags: DescriptorFlags = operation.deviceWrites ? .write : []
    if layout.isPacked {
      table.store(scratch, count: segments, UInt64(flags.rawValue) << 48, step: 0)
    } else {
      let word = UInt64(flags.union(.next).rawValue) << 32 | 2 << 48
      table.store(scratch, count: segments, word, step: 1 << 48)
    }
    store(tailDescriptor(head, operation), in: table, at: segments + 1)
    pointRing(head, to: table)
    return table
  }

  /// Writes a chain of several data segments into the slot's triple and the triples lent to it, or
  /// of none into the triple alone.
  ///
  /// - Parameters:
  ///   - head: The slot.
  ///   - segments: How many of the scratch table's segments.
  ///   - lent: First slot lent to the chain; the others follow by `next`.
  ///   - operation: Which way the data goes, and what the chain ends with.
  func writeTriples(_ head: UInt32, segments: Int, lent: UInt32, _ operation: Operation) {
    let status = UInt16(head) + 2
    if operation.answerByteCount > 0 {
      ring.descriptors.store(tailDescriptor(head, operation), at: Int(head) + 2)
    }
    guard segments > 0 else {
      ring.descriptors.store(headerDescriptor(head, next: status), at: Int(head))
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
        nextTriple = triple == BioRecord.none ? triple : records[triple].next
        place = 0
      }
      let next = index == segments - 1 ? status : UInt16(truncatingIfNeeded: triple &+ place)
      ring.descriptors.store(
        dataDescriptor(scratch[index], deviceWrites: operation.deviceWrites, next: next),
        at: Int(here))
    }
  }

  /// Writes a chain of `segments` data segments, none or several, into the descriptors of a split
  /// ring from `place` on, each with the one behind it as its next (virtio 1.2, 2.7.5.2).
  func writeSequence(_ head: UInt32, segments: Int, _ operation: Operation, at place: UInt16) {
    func after(_ step: Int) -> UInt16 { (place &+ UInt16(step)) & ring.mask }
    ring.descriptors.store(headerDescriptor(head, next: after(1)), at: Int(place))
    for index in 0..<segments {
      ring.descriptors.store(
        dataDescriptor(
          scratch[index], deviceWrites: operation.deviceWrites, next: after(index + 2)),
        at: Int(after(index + 1)))
    }
    ring.descriptors.store(tailDescriptor(head, operation), at: Int(after(segments + 1)))
  }

  /// Makes descriptor `place` of a split ring one that points to a table.
  func store(pointerTo table: DescriptorTable, at place: UInt16) {
    ring.descriptors.store(
      Descriptor(
        address: table.deviceAddress, length: UInt32(16 * table.count), flags: .indirect, next: 0),
      at: Int(place))
  }

  // MARK: - Descriptors

  private func store(_ descriptor: Descriptor, in table: DescriptorTable, at index: Int) {
    if layout.isPacked {
      table.store(packed: descriptor, at: index)
    } else {
      table.store(descriptor, at: index)
    }
  }

  private func headerDescriptor(_ head: UInt32, next: UInt16) -> Descriptor {
    Descriptor(
      address: requests[head].header, length: RequestHeader.byteCount, flags: .next, next: next)
  }

  private func tailDescriptor(_ head: UInt32, _ operation: Operation) -> Descriptor {
    let tail = requests[head].tail(operation)
    return Descriptor(address: tail.address, length: tail.byteCount, flags: .write, next: 0)
  }

  private func dataDescriptor(
    _ segment: DeviceSegment, deviceWrites: Bool, next: UInt16
  ) -> Descriptor {
    Descriptor(
      address: segment.address, length: segment.byteCount,
      flags: deviceWrites ? [.next, .write] : .next, next: next)
  }

  private func pointRing(_ head: UInt32, to table: DescriptorTable) {
    guard !layout.isPositional else { return }
    store(pointerTo: table, at: UInt16(head))
  }
}
