import CHostIO
import PCI
import Synchronization
import Virtio

/// The eventfds that a device's interrupts signal: one for configuration changes, one a queue; or,
/// without MSI-X, one for the interrupt line, which means either (virtio 1.2, 4.1.5.4).
///
/// Vector 0 is the configuration's; a queue has a vector of its own where there are enough, else it
/// shares one (virtio 1.2, 4.1.5.1.2). The bus owns the MSI-X table and its masks.
final class Interrupts: Sendable {
  private let function: any PCIFunction
  private let vectorCount: Int
  /// Whether it is the interrupt line, whose cause must be read to take it back.
  let isLine: Bool
  private let descriptors: [CInt]
  private let isDisconnected = Atomic<Bool>(false)

  /// Takes the function's vectors.
  ///
  /// - Throws: ``VBlkError`` where it has none, or the system gives no eventfd.
  init(_ function: any PCIFunction, queues: Int) throws(VBlkError) {
    let count = min(function.interruptVectorCount, queues + 1)
    guard count > 0 else {
      self.function = function
      vectorCount = 0
      isLine = true
      descriptors = [try Self.connectLine(of: function)]
      return
    }
    isLine = false
    var made: [CInt] = []
    for vector in 0..<count {
      do throws(VBlkError) {
        made.append(try Self.connect(vector, of: function))
      } catch {
        Self.disconnect(made, of: function)
        throw error
      }
    }
    self.function = function
    vectorCount = count
    descriptors = made
  }

  deinit { disconnect() }

  /// Takes the interrupts from the function; once.
  func disconnect() {
    guard !isDisconnected.exchange(true, ordering: .relaxed) else { return }
    guard isLine else { return Self.disconnect(descriptors, of: function) }
    try? function.setInterruptLine(eventfd: nil)
    chio_close(descriptors[0])
  }

  private static func connectLine(of function: any PCIFunction) throws(VBlkError) -> CInt {
    guard function.hasInterruptLine else {
      throw VBlkError(
        .unsupported, "\(function.name) has neither an interrupt vector nor a line",
        remedy: "poll it: open it without interrupts")
    }
    return try connect("the interrupt line") { descriptor throws(PCIError) in
      try function.setInterruptLine(eventfd: descriptor)
    }
  }

  private static func connect(
    _ vector: Int, of function: any PCIFunction
  ) throws(VBlkError) -> CInt {
    try connect("vector \(vector)") { descriptor throws(PCIError) in
      try function.setInterrupt(vector: vector, eventfd: descriptor)
    }
  }

  private static func connect(
    _ what: String, _ set: (CInt) throws(PCIError) -> Void
  ) throws(VBlkError) -> CInt {
    let descriptor = chio_eventfd()
    guard descriptor >= 0 else {
      throw VBlkError(
        .system, "no eventfd for \(what): errno \(chio_errno())",
        remedy: "raise the limit of open files (ulimit -n)")
    }
    do {
      try set(descriptor)
    } catch {
      chio_close(descriptor)
      throw VBlkError(error)
    }
    return descriptor
  }

  private static func disconnect(_ descriptors: [CInt], of function: any PCIFunction) {
    for (vector, descriptor) in descriptors.enumerated() {
      // The function may be gone; its vectors are gone with it.
      try? function.setInterrupt(vector: vector, eventfd: nil)
      chio_close(descriptor)
    }
  }

  /// Lets the line signal again, after its cause was read.
  func unmaskLine() { function.unmaskInterruptLine() }

  /// The vector of configuration changes; none where it is the line.
  var configVector: UInt16 { isLine ? VirtioPCI.noVector : 0 }

  /// The vector of queue `index`; none where it is the line.
  func vector(ofQueue index: Int) -> UInt16 {
    guard !isLine else { return VirtioPCI.noVector }
    return UInt16(vectorCount > 1 ? 1 + index % (vectorCount - 1) : 0)
  }

  /// The eventfd that queue `index` signals.
  func descriptor(ofQueue index: Int) -> CInt {
    isLine ? descriptors[0] : descriptors[Int(vector(ofQueue: index))]
  }

  /// The eventfd that configuration changes signal.
  var configDescriptor: CInt { descriptors[0] }
}
