internal import Virtio

/// Completions and publication under the hostile switches; honest when none is on.
extension SplitQueue {
  /// Completes a request, hostile if it is a hostile turn.
  mutating func completeInterposed(_ request: inout Request) {
    guard interposition.takeHostileTurn() else { return complete(&request) }
    counters.injectedFaults &+= 1
    let hostility = interposition.hostility
    if hostility.contains(.statusOutOfRange) { request.status = 0x77 }
    if hostility.contains(.statusZoned) {
      request.status = RequestStatus.zoneOpenResource.rawValue
    }
    if hostility.contains(.scribblesDescriptors) { scribble(request.head) }
    if !hostility.contains(.usedLengthZero) { answer(&request) }
    var length = request.usedLength
    if hostility.contains(.usedLengthTooLong) { length = .max }
    if hostility.contains(.usedLengthShort) { length = min(length, 1) }
    var id = UInt32(request.head)
    if hostility.contains(.usedIDOutOfRange) { id += UInt32(size) }
    if hostility.contains(.usedIDNotHead) { id = (id + 1) & UInt32(mask) }
    pushUsed(head: Int(id), written: length)
    if hostility.contains(.usedIDDuplicate) { pushUsed(head: Int(id), written: length) }
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

  /// Moves the used index where no honest one goes.
  private mutating func hostileIndex(_ hostility: Hostility) {
    if hostility.contains(.usedIndexJumps) { usedShadow &+= size &+ 1 }
    if hostility.contains(.usedIndexGoesBack) { usedShadow &-= 2 }
  }

  /// Overwrites the descriptor at `head`, which the driver owns, with garbage.
  private func scribble(_ head: Int) {
    let offset = head * SplitLayout.descriptorStride
    for word in 0..<4 { descriptors.store32(offset + 4 * word, 0xDEAD_BEEF) }
  }

  /// What ``finishBatch(wantKicks:)`` does after the index is published, with hostile switches on.
  @inline(never)
  mutating func finishInterposed() {
    let hostility = interposition.hostility
    if hostility.contains(.suppressesKicks) {
      // With event indexes: one behind, so it is crossed only a whole turn later.
      if eventIndex {
        used.store16(SplitLayout.availableEventOffset(size: Int(size)), lastAvailable &- 1)
      } else {
        used.store16(SplitLayout.flagsOffset, SplitLayout.usedNoNotify)
      }
    }
    if hostility.contains(.availableEventGarbage) {
      used.store16(SplitLayout.availableEventOffset(size: Int(size)), lastAvailable &* 0x6D2B)
      used.store16(SplitLayout.flagsOffset, 0xFFFE)
    }
    if hostility.contains(.configInterruptStorm) { signals.raiseConfiguration() }
    guard usedNotified != usedPublished, !hostility.contains(.neverNotifies) else { return }
    notifyOfPublished()
    if hostility.contains(.notifiesTwice) { notify() }
  }
}
