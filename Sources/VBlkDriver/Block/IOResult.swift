/// How an operation ended: the bytes it transferred, or why it failed. Trivial; two words.
///
/// A failed operation has no byte count: a device error never yields a partial one.
@frozen
public struct IOResult: Equatable, Sendable {
  /// Bytes transferred; 0 after a failure.
  public let byteCount: Int
  /// Why the operation failed, or nil.
  public let code: VBlkError.Code?

  /// A result of `byteCount` bytes, or a failure.
  @inlinable @inline(__always)
  public init(byteCount: Int, code: VBlkError.Code?) {
    self.byteCount = code == nil ? byteCount : 0
    self.code = code
  }

  /// A success.
  @inlinable @inline(__always)
  init(success byteCount: Int) {
    self.byteCount = byteCount
    self.code = nil
  }
}

/// What became of a submission. `Memory` is what the operation moves its data through, a
/// `DMABuffer` or a ``SegmentList``; it is never lost.
@frozen
public enum Submission<Memory: ~Copyable>: ~Copyable {
  /// Accepted: the memory comes back with the operation's one ``Completion``.
  case queued
  /// Ended inside the submit call, and never notified again.
  case completed(IOResult, Memory)
  /// Nothing was published and no operation exists.
  case refused(VBlkError.Code, Memory)
}

/// What became of the submission of an operation that moves no data.
@frozen
public enum PlainSubmission: Equatable, Sendable {
  /// Accepted: one ``Completion`` will come.
  case queued
  /// Ended inside the submit call, and never notified again.
  case completed(IOResult)
  /// Nothing was published and no operation exists.
  case refused(VBlkError.Code)
}

/// The one notification of an accepted operation.
///
/// `buffer` or `segments` is what the operation was submitted with; both are nil for operations
/// without data, and after a reset that the device never confirmed (its memory may still be
/// written to, so it is not given back).
@frozen
public struct Completion: ~Copyable {
  /// The tag given at submission.
  public let tag: UInt64
  /// How the operation ended.
  public let result: IOResult
  /// The buffer that was submitted.
  public var buffer: DMABuffer?
  /// The segment list that was submitted.
  public var segments: SegmentList?

  /// Makes a completion.
  @inlinable @inline(__always)
  init(
    tag: UInt64, result: IOResult, buffer: consuming DMABuffer?, segments: consuming SegmentList?
  ) {
    self.tag = tag
    self.result = result
    self.buffer = buffer
    self.segments = segments
  }
}
