import CHostIO
import PCI
import Virtio

/// The eventfds that a device's interrupts signal: one for configuration changes, one a queue.
///
/// Vector 0 is the configuration's; a queue has a vector of its own where there are enough, else it
/// shares one (virtio 1.2, 4.1.5.1.2). The bus owns the MSI-X table and its masks.
final class Interrupts: Sendable {
  private let function: any PCIFunction
  private let vectorCount: Int
  private let descriptors: [CInt]

  /// Takes the function's vectors.
  ///
  /// - Throws: ``VBlkError`` where it has none, or the system gives no eventfd.
  init(_ function: any PCIFunction, queues: Int) throws(VBlkError) {
    let count = min(function.interruptVectorCount, queues + 1)
    guard count > 0 else {
      throw VBlkError(
        .unsupported, "\(function.name) has no interrupt vector",
        remedy: "poll it: open it without interrupts")
    }
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

  deinit { Self.disconnect(descriptors, of: function) }

  private static func connect(
    _ vector: Int, of function: any PCIFunction
  ) throws(VBlkError) -> CInt {
    let descriptor = chio_eventfd()
    guard descriptor >= 0 else {
      throw VBlkError(
        .system, "no eventfd for vector \(vector): errno \(chio_errno())",
        remedy: "raise the limit of open files (ulimit -n)")
    }
    do {
      try function.setInterrupt(vector: vector, eventfd: descriptor)
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

  /// The vector of queue `index`.
  func vector(ofQueue index: Int) -> UInt16 {
    UInt16(vectorCount > 1 ? 1 + index % (vectorCount - 1) : 0)
  }

  /// The eventfd that queue `index` signals.
  func descriptor(ofQueue index: Int) -> CInt { descriptors[Int(vector(ofQueue: index))] }

  /// The eventfd that configuration changes signal.
  var configDescriptor: CInt { descriptors[0] }
}
