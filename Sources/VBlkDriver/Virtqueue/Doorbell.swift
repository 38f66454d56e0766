public import CHostIO
import PCI

/// How a queue's device is notified, resolved when the queue is set up: a register in this
/// process, or a call where the function has no mapping (an emulated one).
///
/// Trivial, so that the data plane can copy it; ``DoorbellTarget`` keeps what it points to alive.
///
/// Invariants
/// 1. `register` is 2 bytes, or 4 where the doorbell is wide, inside a mapped region of the
///    function, which outlives every queue.
/// 2. `target` is retained once, and released once by ``release()``, after the last ring.
@safe
@usableFromInline
struct Doorbell {
  /// The register of a mapped function, else nil.
  @usableFromInline let register: UnsafeMutableRawPointer?
  /// What is called where there is no register.
  @usableFromInline let target: Unmanaged<DoorbellTarget>?
  /// The 16 bits to write: the queue's index, or what the device has told with NOTIF_CONFIG_DATA
  /// (virtio 1.2, 4.1.5.2).
  @usableFromInline let value: UInt16
  /// Whether 32 bits are written, the queue's next place above the value (NOTIFICATION_DATA).
  @usableFromInline let isWide: Bool

  init(
    _ function: any PCIFunction, region: Int, offset: UInt64, value: UInt16, isWide: Bool = false
  ) {
    self.value = value
    self.isWide = isWide
    unsafe register = function.mapped(region: region, offset: offset, count: isWide ? 4 : 2)
    let isMapped = unsafe register != nil
    unsafe target =
      isMapped ? nil : .passRetained(DoorbellTarget(function, region: region, offset: offset))
  }

  /// Rings once.
  @inlinable @inline(__always)
  func ring() {
    if let register = unsafe register {
      unsafe chio_mmio_write16(register, value)
    } else if let target = unsafe target {
      unsafe target._withUnsafeGuaranteedRef { $0.write(value) }
    }
  }

  /// Rings a wide doorbell once; `next` is the first place that is not available (virtio 1.2, 2.9).
  func ring(next: UInt16) {
    let word = UInt32(value) | UInt32(next) << 16
    if let register = unsafe register {
      unsafe chio_mmio_write32(register, word)
    } else if let target = unsafe target {
      unsafe target._withUnsafeGuaranteedRef { $0.writeWide(word) }
    }
  }

  /// Ends the doorbell's life; the queue's memory calls it once.
  func release() { unsafe target?.release() }
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

  func writeWide(_ value: UInt32) {
    function.write(region: region, offset: offset, width: 4, value: value)
  }
}
