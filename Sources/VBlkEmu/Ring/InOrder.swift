/// What goes into a used ring for a request, in either format.
struct UsedElement {
  /// Head (split) or buffer id (packed).
  var id: Int
  /// How far the ring goes on with it: slots of a packed ring, entries of the used ring.
  var span: Int
  /// Bytes written.
  var written: UInt32
  /// Whether every byte that the device may write was written.
  var isFull: Bool
  /// Whether any byte was written.
  var isWritten = true
  /// Flag bits that a hostile device turns over, where they stand in a packed second word.
  var disguise: UInt64 = 0
}

extension UsedElement {
  /// What is to be said of a request that was answered.
  init(_ request: Request) {
    let written = request.usedLength
    self.init(
      id: request.head, span: request.span, written: written,
      isFull: request.isAnswered && UInt64(written) == request.writableBytes + 1,
      isWritten: request.isAnswered)
  }
}

/// IN_ORDER (virtio 1.2, 2.7.9 and 2.8.9): buffers are used in the order in which they were made
/// available, so one used element may stand for all up to it.
///
/// Invariant: the buffers that an element stands for, its own left out, were written in full: the
/// driver takes them for that.
extension DeviceQueue {
  /// Puts an element behind those that were merged, or begins anew with it.
  @inline(never)
  mutating func merge(_ element: UsedElement) {
    if let before = merged {
      if before.isFull {
        merged = element
        merged?.span = before.span + element.span
        return
      }
      write(before)
    }
    merged = element
  }

  /// Writes the element that stands for a batch, if there is one.
  mutating func writeMerged() {
    guard let element = merged else { return }
    merged = nil
    write(element)
  }

  /// Whether requests must wait for older ones that are not yet used.
  var isBlocked: Bool { inOrder && !inFlight.isEmpty }

  /// Completes what waited for older requests only, oldest first.
  ///
  /// - Returns: How many.
  @discardableResult
  mutating func completeUnblocked() -> Int {
    var count = 0
    while let number = inFlight.keys.min(), var request = inFlight[number], request.isWaiting {
      inFlight[number] = nil
      finishHeld(&request)
      count += 1
    }
    return count
  }
}
