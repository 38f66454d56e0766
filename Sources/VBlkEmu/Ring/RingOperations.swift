internal import CHostIO
internal import Virtio

/// What is done to a ring, in whichever format it is: the choice is made once a batch, or once a
/// request that goes the long way. The fast path says it as a constant.
extension DeviceQueue {
  /// At least 1 if something is available and has not been taken, and no more than that of a split
  /// ring; nil, and the queue is broken, if it is more than the ring holds [hostile driver 1, 2].
  mutating func pending() -> UInt16? {
    if isPacked { return packed.isPending ? size : 0 }
    let distance = split.pending
    guard _fastPath(distance <= size) else {
      breakQueue(
        .availableIndexJumped, at: UInt64(split.lastAvailable),
        value: UInt64(split.lastAvailable &+ distance))
      return nil
    }
    return distance
  }

  /// How many requests are available; nil, and the queue is broken, as for ``pending()``.
  mutating func countPending() -> Int? {
    isPacked ? packed.pending : pending().map { Int($0) }
  }

  /// Takes the next head from the available ring of a split ring; nil, and the queue is broken, if
  /// it can't be one.
  @inline(__always)
  mutating func takeHead() -> Int? {
    let head = split.nextHead
    guard _fastPath(head < Int(size)), _fastPath(stamps[head] < stamp) else {
      breakQueue(
        head < Int(size) ? .headInFlight : .headOutOfRange, at: UInt64(split.lastAvailable),
        value: UInt64(head))
      return nil
    }
    stamps[head] = stamp
    split.lastAvailable &+= 1
    return head
  }

  /// Says that a request was used; the driver sees it when it is published.
  @inline(__always)
  mutating func pushUsed(_ element: UsedElement, packed isPacked: Bool) {
    if _slowPath(merges) {
      merge(element)
    } else if isPacked {
      packed.push(element)
    } else {
      split.push(element)
    }
  }

  /// Writes a used element as it is.
  mutating func write(_ element: UsedElement) {
    if isPacked { packed.push(element) } else { split.push(element) }
  }

  /// Ends a batch: publishes what was used, says when the next kick is wanted, notifies once.
  ///
  /// - Parameter wantKicks: Whether the driver shall kick for the next request.
  mutating func finishBatch(wantKicks: Bool) {
    let isUnpublished =
      isPacked ? packed.pushed != 0 : split.usedPublished != split.usedShadow
    if isUnpublished || merged != nil { publish() }
    armKicks(wantKicks)
    // Fences N and K, in one.
    chio_fence_full()
    if _slowPath(interposed) {
      finishInterposed()
    } else if isUndecided {
      notifyOfPublished()
    }
  }

  /// Release U, in either format. Every head or id that was used is free from here on.
  mutating func publish() {
    if _slowPath(watch != nil) { watchShown() }
    writeMerged()
    if isPacked { packed.publish() } else { split.publish() }
    stamp &+= 1
    if stamp == HeadStamps.held { restartStamps() }
  }

  @inline(never)
  private mutating func restartStamps() {
    for head in 0..<Int(size) where stamps[head] != HeadStamps.held { stamps[head] = 0 }
    stamp = 1
  }

  /// Says when the driver shall kick; the caller fences (K).
  mutating func armKicks(_ wanted: Bool) {
    if isPacked {
      packed.arm(wanted, eventIndex: eventIndex)
    } else {
      split.arm(wanted, eventIndex: eventIndex)
    }
  }

  /// Whether something was published since the last decision whether to notify.
  var isUndecided: Bool {
    isPacked ? packed.undecided != 0 : split.usedNotified != split.usedPublished
  }

  /// Notifies the driver of what was published since the last decision, unless it has suppressed
  /// that; the caller has fenced (N).
  mutating func notifyOfPublished() {
    let wanted = isPacked ? packedWish() : split.wantsNotification(eventIndex: eventIndex)
    packed.undecided = 0
    split.usedNotified = split.usedPublished
    if wanted {
      notify()
    } else {
      counters.suppressedNotifications &+= 1
    }
  }

  /// What the driver's event suppression asks for; one that it may not write is named, and the
  /// driver is told rather too often than not at all.
  private mutating func packedWish() -> Bool {
    switch packed.wish(eventIndex: eventIndex) {
    case .notify: return true
    case .quiet: return false
    case .invalid(let word):
      report(
        .eventSuppressionInvalid, .ignored, at: UInt64(packed.slot), value: UInt64(word))
      return true
    }
  }

  /// Notifies the driver, wanted or not.
  mutating func notify() {
    counters.notifications &+= 1
    signals.raiseQueue(vector: vector)
  }
}
