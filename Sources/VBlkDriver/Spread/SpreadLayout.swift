/// How a group's bytes lie on its devices, and which queues share the work: the devices one after
/// another, each device's range divided among the members that are queues of it.
///
/// Striping is rejected: a part's memory would be in pieces of a stripe. Who wants it submits an
/// operation a row.
struct SpreadLayout {
  /// A device's share.
  struct Volume {
    let device: Device
    /// The group's byte at which it begins.
    let base: UInt64
    let byteCount: UInt64
    let blockMask: UInt64
    /// Queues of the device, in the group's order.
    let members: Range<Int>
  }

  let volumes: [Volume]
  /// Bytes of a part, at least.
  let partBytes: UInt64

  var byteCount: UInt64 { volumes.reduce(0) { $0 + $1.byteCount } }

  /// A stretch of an operation: for whom, where on its device, and where in the memory.
  struct Share: Equatable {
    var member: Int
    var start: UInt64
    var byteCount: UInt64
    var sourceOffset: UInt64
  }

  /// Divides bytes `range` of the group, in their order; parts meet at whole blocks.
  func split(_ range: Range<UInt64>, _ body: (_ volume: Int, Share) -> Void) {
    for index in volumes.indices {
      let volume = volumes[index]
      let lower = max(range.lowerBound, volume.base)
      // What one device has grown by is its own.
      let end = volumes.count == 1 ? range.upperBound : volume.base + volume.byteCount
      let upper = min(range.upperBound, end)
      guard lower < upper else { continue }
      let most = max(1, min(UInt64(volume.members.count), (upper - lower) / partBytes))
      let each = (upper - lower + most - 1) / most
      var start = lower
      var member = volume.members.lowerBound
      while start < upper {
        let isLast = member == volume.members.upperBound - 1
        let wanted = (start - volume.base + each + volume.blockMask) & ~volume.blockMask
        let next = isLast ? upper : min(upper, volume.base + wanted)
        body(
          index,
          Share(
            member: member, start: start - volume.base, byteCount: next - start,
            sourceOffset: start - range.lowerBound))
        start = next
        member += 1
      }
    }
  }

  /// The volumes that `range` touches, a bit each.
  func volumes(of range: Range<UInt64>) -> UInt64 {
    var bits: UInt64 = 0
    split(range) { volume, _ in bits |= 1 << UInt64(volume) }
    return bits
  }
}
