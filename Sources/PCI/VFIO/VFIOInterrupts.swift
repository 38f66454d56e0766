internal import CHostIO
internal import Glibc
internal import Synchronization

/// The interrupts of a function that VFIO has: MSI-X vectors to eventfds of the driver's, or the
/// line (INTx) to one, never both; and two of the bus's own by which it says that the function must
/// go (REQ) or has failed (ERR).
///
/// Kernels before 6.2 can't add a vector to those in use, so the first connection asks for all of
/// them, and the others only fill their places.
final class VFIOInterrupts: Sendable {
  /// MSI-X vectors of the function.
  let vectorCount: Int
  /// Whether there is an interrupt line.
  let hasLine: Bool

  private let device: HostFile
  /// The eventfd of each vector, none where the vectors are off; nil once closed.
  private let connected = Mutex<[CInt]?>([])
  private let request: CInt
  private let error: CInt

  private static let line: UInt32 = 0
  private static let messages: UInt32 = 2
  private static let errors: UInt32 = 3
  private static let requests: UInt32 = 4

  init(_ device: HostFile) throws(FailedCall) {
    self.device = device
    var count: UInt32 = 0
    guard unsafe chio_vfio_irq_count(device.descriptor, Self.messages, &count) == 0 else {
      throw FailedCall("VFIO_DEVICE_GET_IRQ_INFO", device.path)
    }
    vectorCount = min(Int(count), Int(CHIO_VECTORS_MAX))
    hasLine =
      unsafe chio_vfio_irq_count(device.descriptor, Self.line, &count) == 0 && count > 0
    request = Self.watch(Self.requests, device)
    error = Self.watch(Self.errors, device)
  }

  deinit { close() }

  /// Connects one of the bus's own interrupts; -1 where the kernel or the function has none.
  private static func watch(_ index: UInt32, _ device: HostFile) -> CInt {
    var count: UInt32 = 0
    guard unsafe chio_vfio_irq_count(device.descriptor, index, &count) == 0, count > 0 else {
      return -1
    }
    var descriptor = chio_eventfd()
    guard descriptor >= 0 else { return -1 }
    if unsafe chio_vfio_set_irqs(device.descriptor, index, 0, 1, &descriptor) != 0 {
      chio_close(descriptor)
      return -1
    }
    return descriptor
  }

  /// What the bus has said of the function's stay. What was said stays said.
  var departure: PCIDeparture? {
    if Self.isSignalled(request) { return .removalRequested }
    return Self.isSignalled(error) ? .failed : nil
  }

  private static func isSignalled(_ descriptor: CInt) -> Bool {
    guard descriptor >= 0 else { return false }
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 0) == 1
  }

  func set(_ vector: Int, _ eventfd: CInt?, of name: String) throws(PCIError) {
    guard (0..<vectorCount).contains(vector) else {
      throw PCIError(
        .outOfRange, "\(name): vector \(vector) of \(vectorCount)",
        remedy: "use a vector that the function has")
    }
    try connected.withLock { connected throws(PCIError) in
      guard let inUse = connected else { return }
      var wanted = inUse.isEmpty ? [CInt](repeating: -1, count: vectorCount) : inUse
      wanted[vector] = eventfd ?? -1
      let status: CInt
      if wanted.allSatisfy({ $0 < 0 }) {
        status = inUse.isEmpty ? 0 : chio_vfio_disable_irqs(device.descriptor, Self.messages)
        wanted = []
      } else if inUse.isEmpty {
        status = unsafe chio_vfio_set_irqs(
          device.descriptor, Self.messages, 0, UInt32(vectorCount), wanted)
      } else {
        status = unsafe chio_vfio_set_irqs(
          device.descriptor, Self.messages, UInt32(vector), 1, [wanted[vector]])
      }
      guard status == 0 else {
        throw PCIError(
          .system, "\(FailedCall("VFIO_DEVICE_SET_IRQS", name)) for vector \(vector)",
          remedy: "poll it: open it without interrupts")
      }
      connected = wanted
    }
  }

  /// Connects the line, which VFIO masks with each signal, or no longer.
  func setLine(_ eventfd: CInt?, of name: String) throws(PCIError) {
    try connected.withLock { connected throws(PCIError) in
      guard let inUse = connected else { return }
      guard hasLine, inUse.isEmpty else {
        throw PCIError(
          .unsupported, "\(name) has \(hasLine ? "vectors in use" : "no interrupt line")",
          remedy: "use its MSI-X vectors, or poll it")
      }
      let status =
        eventfd.map { unsafe chio_vfio_set_irqs(device.descriptor, Self.line, 0, 1, [$0]) }
        ?? chio_vfio_disable_irqs(device.descriptor, Self.line)
      guard status == 0 else {
        throw PCIError(
          .system, "\(FailedCall("VFIO_DEVICE_SET_IRQS", name)) for the interrupt line",
          remedy: "poll it: open it without interrupts")
      }
    }
  }

  /// Lets the line signal again. A function that is gone has none to be let.
  func unmaskLine() { _ = chio_vfio_unmask_irq(device.descriptor, Self.line) }

  /// Disconnects all; the kernel lets go of the line as the device closes. May be repeated.
  func close() {
    connected.withLock { connected in
      guard let inUse = connected else { return }
      if !inUse.isEmpty { _ = chio_vfio_disable_irqs(device.descriptor, Self.messages) }
      for descriptor in [request, error] where descriptor >= 0 { chio_close(descriptor) }
      connected = nil
    }
  }
}
