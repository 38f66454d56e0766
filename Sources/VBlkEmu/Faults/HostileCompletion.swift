internal import Virtio

/// Completions and publication under the hostile switches; honest when none is on.
extension DeviceQueue {
  /// Completes a request, hostile if it is a hostile turn.
  mutating func completeInterposed(_ request: inout Request) {
    guard interposition.takeHostileTurn() else { return complete(&request) }
    counters.injectedFaults &+= 1
    let hostility = interposition.hostility
    if hostility.contains(.statusOutOfRange) { request.status = 0x77 }
    if hostility.contains(.statusZoned) {
      request.status = RequestStatus.zoneOpenResource.rawValue
    }
    if hostility.contains(.scribblesDescriptors) { scribble(request) }
    if !hostility.contains(.usedLengthZero) { answer(&request) }
    let element = disguised(UsedElement(request), hostility)
    // A batch before it is an honest one.
    writeMerged()
    write(element)
    if hostility.contains(.usedIDDuplicate) { write(element) }
    request.step = .used
    counters.requests &+= 1
    hostileIndex(hostility)
    if hostility.contains(.changesDataAfterCompletion),
      request.type == RequestType.read.rawValue, let first = request.writable.first
    {
      publish()
      _ = storeByte(first.address, 0xEE)
    }
  }

  /// A used element as the switches want it.
  private func disguised(_ honest: UsedElement, _ hostility: Hostility) -> UsedElement {
    var element = honest
    if hostility.contains(.usedLengthTooLong) { element.written = .max }
    if hostility.contains(.usedLengthShort) { element.written = min(element.written, 1) }
    if hostility.contains(.usedIDOutOfRange) { element.id += Int(size) }
    if hostility.contains(.usedIDNotHead) {
      element.id = isPacked ? idleID(after: element.id) : (element.id + 1) & Int(split.mask)
    }
    if hostility.contains(.usedFlagsGarbage) { element.disguise = PackedRing.meaningless }
    if hostility.contains(.usedFlagsInconsistent) { element.disguise |= PackedRing.usedBit }
    return element
  }

  /// A buffer id that is not in flight, or the next one if all are.
  private func idleID(after id: Int) -> Int {
    let next = (1...Int(size)).map { (id + $0) % Int(size) }
    return next.first { stamps[$0] < stamp } ?? next[0]
  }

  /// Moves the place of the next used entry or descriptor to where no honest one goes.
  private mutating func hostileIndex(_ hostility: Hostility) {
    if hostility.contains(.usedIndexJumps) {
      if isPacked { packed.behind -= 1 } else { split.usedShadow &+= size &+ 1 }
    }
    if hostility.contains(.usedIndexGoesBack) {
      if isPacked { packed.behind += 2 } else { split.usedShadow &-= 2 }
    }
  }

  /// Overwrites the descriptors of a request, which the driver owns, with garbage: of a split ring
  /// the head, of a packed one
  /// address and length of all.
  private func scribble(_ request: Request) {
    let ring = isPacked ? packed.descriptors : split.descriptors
    for index in 0..<request.span {
      let slot = isPacked ? (request.slot + index) % packed.size : request.head
      let words = isPacked ? 3 : 4
      for word in 0..<words {
        ring.store32(slot * SplitLayout.descriptorStride + 4 * word, 0xDEAD_BEEF)
      }
    }
  }

  /// What ``finishBatch(wantKicks:)`` does after the index is published, with hostile switches on.
  @inline(never)
  mutating func finishInterposed() {
    let hostility = interposition.hostility
    if hostility.contains(.suppressesKicks) {
      if isPacked {
        packed.arm(false, eventIndex: eventIndex)
      } else if eventIndex {
        // One behind, so it is crossed only a whole turn later.
        split.used.store16(split.availableEventOffset, split.lastAvailable &- 1)
      } else {
        split.arm(false, eventIndex: false)
      }
    }
    if hostility.contains(.availableEventGarbage) {
      if isPacked {
        packed.deviceEvent.store32(0, 0xFFFF_6D2B)
      } else {
        split.used.store16(split.availableEventOffset, split.lastAvailable &* 0x6D2B)
        split.used.store16(SplitLayout.flagsOffset, 0xFFFE)
      }
    }
    if hostility.contains(.configInterruptStorm) { signals.raiseConfiguration() }
    guard isUndecided, !hostility.contains(.neverNotifies) else { return }
    notifyOfPublished()
    if hostility.contains(.notifiesTwice) { notify() }
  }
}
