public import CHostIO
import PCI

/// How a queue's device is notified, resolved when the queue is set up: a register in this
/// process, or a call where the function has no mapping (an emulated one).
///
/// Trivial, so that the data plane can copy it; ``DoorbellTarget`` keeps what it points to alive.
@usableFromInline
struct Doorbell {
  /// The register of a mapped function, else nil.
  @usableFromInline let register: UnsafeMutableRawPointer?
  /// What is called where there is no register.
  @usableFromInline let target: Unmanaged<DoorbellTarget>?
  /// The 16 bits to write: the queue's index (virtio 1.2, 4.1.5.2).
  @usableFromInline let value: UInt16

  init(_ function: any PCIFunction, region: Int, offset: UInt64, value: UInt16) {
    self.value = value
    register = function.mapped(region: region, offset: offset, count: 2)
    target =
      register == nil
      ? .passRetained(DoorbellTarget(function, region: region, offset: offset)) : nil
  }

  /// Rings once.
  @inlinable @inline(__always)
  func ring() {
    if let register {
      chio_mmio_write16(register, value)
    } else if let target {
      target._withUnsafeGuaranteedRef { $0.write(value) }
    }
  }

  /// Ends the doorbell's life; the queue's memory calls it once.
  func release() { target?.release() }
}

/// A doorbell that is rung by the function's register write.
@usableFromInline
final class DoorbellTarget: Sendable {
  private let function: any PCIFunction
  private let region: Int
  private let offset: UInt64

  init(_ function: any PCIFunction, region: Int, offset: UInt64) {
    self.function = function
    self.region = region
    self.offset = offset
  }

  @usableFromInline
  func write(_ value: UInt16) {
    function.write(region: region, offset: offset, width: 2, value: UInt32(value))
  }
}
