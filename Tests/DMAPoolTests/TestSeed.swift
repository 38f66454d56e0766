import CHostIO
import Glibc
import Testing

@testable import DMAPool

/// The seed of a random test: of VBLK_SEED if that is set, else of the clock; a failure prints it.
struct TestSeed: Sendable {
  let value: UInt64

  static let ofThisRun: TestSeed = {
    if let text = unsafe getenv("VBLK_SEED") {
      let digits = unsafe String(cString: text)
      let value =
        digits.hasPrefix("0x") ? UInt64(digits.dropFirst(2), radix: 16) : UInt64(digits)
      precondition(value != nil, "VBLK_SEED is no number: \(digits)")
      return TestSeed(value: value ?? 0)
    }
    return TestSeed(value: chio_now_ns())
  }()

  var generator: SeededGenerator { SeededGenerator(seed: value) }

  /// How to run this again.
  var replay: Comment { "VBLK_SEED=0x\(String(value, radix: 16))" }
}
