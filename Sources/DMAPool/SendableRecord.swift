/// A block's record on its way through a lock: one owner at a time, as ``DMABuffer`` has it.
@safe
struct SendableRecord: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<DMABlock>
}
