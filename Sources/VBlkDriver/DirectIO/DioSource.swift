import DMAPool

/// What a dio moves its data through.
///
/// Invariants
/// 1. The memory lives until the operation has ended: `buffer` and `list` are owned by the dio, and
///    `memory` belongs to a caller that waits.
/// 2. From ``SourcePlace`` on there are as many bytes as the cursor, or a bounced bio, has left:
///    a dio's bytes are at most its source's.
@safe
enum DioSource {
  /// No data, or a fixed answer.
  case none
  /// One DMA buffer.
  case buffer(BlockReference)
  /// Scatter-gather.
  case list(SegmentStorage)
  /// The caller's own memory, of a synchronous call: everything bounces.
  case memory(UnsafeMutableRawPointer)
}

/// A place in a ``DioSource``.
struct SourcePlace: Equatable {
  /// The segment of a list; 0 otherwise.
  var segment = 0
  /// Bytes into the segment, buffer or memory.
  var offset = 0
}

extension DioSource {
  /// Copies a bounced bio's bytes between its bounce block and the source; slow path.
  func copy(_ detail: BounceDetail, bounce: BlockReference, toSource: Bool) {
    var done = 0
    var place = detail.place
    while done < detail.byteCount {
      let (memory, count) = unsafe stretch(at: place, limit: detail.byteCount - done)
      let bounced = unsafe bounce.base + detail.skip + done
      if toSource {
        unsafe memory.copyMemory(from: bounced, byteCount: count)
      } else {
        unsafe bounced.copyMemory(from: memory, byteCount: count)
      }
      done += count
      place = advance(place, by: count)
    }
  }

  /// The bytes at `place`, contiguous for the processor.
  private func stretch(
    at place: SourcePlace, limit: Int
  ) -> (memory: UnsafeMutableRawPointer, byteCount: Int) {
    switch self {
    case .none: preconditionFailure("an operation without data has nothing to copy")
    case .buffer(let block): return unsafe (block.base + place.offset, limit)
    case .memory(let base): return unsafe (base + place.offset, limit)
    case .list(let list):
      let segment = list[place.segment]
      return unsafe (
        segment.block.base + segment.offset + place.offset,
        min(limit, segment.byteCount - place.offset)
      )
    }
  }

  /// The bytes at `place`, contiguous for the device, at most `limit`; `place` moves behind them.
  @inline(__always)
  func takeRun(
    at place: inout SourcePlace, limit: Int
  ) -> (deviceAddress: UInt64, byteCount: Int) {
    switch self {
    case .none, .memory: preconditionFailure("no DMA memory to gather")
    case .buffer(let block):
      let run = block.run(at: place.offset, limit: limit)
      place.offset &+= run.byteCount
      return run
    case .list(let list):
      let segment = list[place.segment]
      let left = segment.byteCount &- place.offset
      let run = segment.block.run(at: segment.offset &+ place.offset, limit: min(limit, left))
      place.segment &+= run.byteCount == left ? 1 : 0
      place.offset = run.byteCount == left ? 0 : place.offset &+ run.byteCount
      return run
    }
  }

  /// `place`, `byteCount` bytes on.
  func advance(_ place: SourcePlace, by byteCount: Int) -> SourcePlace {
    guard case .list(let list) = self else {
      return SourcePlace(segment: 0, offset: place.offset + byteCount)
    }
    var place = place
    var left = byteCount
    while left > 0 {
      let room = list[place.segment].byteCount - place.offset
      if left < room {
        place.offset += left
        return place
      }
      left -= room
      place = SourcePlace(segment: place.segment + 1, offset: 0)
    }
    return place
  }

  /// Gives the memory back to its arenas: nobody will ask for it any more.
  func release() {
    switch self {
    case .none, .memory: break
    case .buffer(let block): _ = DMABuffer(block)
    case .list(let list): list.free()
    }
  }

  /// Whether all of its memory is mapped for `device`.
  func isMapped(by device: Device) -> Bool {
    func isMapped(_ arena: UInt32) -> Bool {
      arena == device.memory.number || device.isMapped(arena)
    }
    switch self {
    case .none: return true
    case .memory: return false
    case .buffer(let block): return isMapped(block.arena)
    case .list(let list):
      return (0..<list.bufferCount).allSatisfy { isMapped(list.buffer(at: $0).arena) }
    }
  }
}
