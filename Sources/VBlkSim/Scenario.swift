/// A world in one line of parameters: what its clients do, on which queue, and what may happen.
public struct Scenario: Equatable, Sendable {
  /// The formats of ring.
  public enum Ring: String, CaseIterable, Sendable { case split, packedDirect, packedIndirect }

  /// What a client asks for. Ranges are in blocks of 512 bytes, unless they are partial.
  public enum Request: Equatable, Sendable {
    /// A read, a bio a block.
    case read(blocks: Int)
    /// A write, durable or not.
    case write(blocks: Int, isDurable: Bool)
    /// A write of 100 bytes inside block 0: a read-modify-write under its lock.
    case partial
    /// A flush.
    case flush
    /// A read that the client waits for.
    case waitForRead(blocks: Int)
    /// A durable write that the client waits for.
    case waitForWrite(blocks: Int)

    var isAwaited: Bool {
      switch self {
      case .waitForRead, .waitForWrite: true
      default: false
      }
    }
  }

  /// How far one step of the device goes.
  public enum DeviceSteps: Sendable {
    /// Data, status, used entry at once.
    case whole
    /// Data and status, then the used entry.
    case apart
  }

  /// How much one step of the owner reaps.
  public enum Reaps: Sendable { case one, all }

  /// When submissions, kicks and deliveries are steps of their own.
  public enum Client: Sendable {
    /// All is submitted and kicked at first, and delivered at once: device and reaps interleave.
    case eager
    /// Each is a step.
    case stepped
  }

  /// Its name, for the command line.
  public var name: String
  /// What is submitted, in this order.
  public var requests: [Request]
  /// Slots of the queue.
  public var depth = 8
  /// The ring's format.
  public var ring = Ring.split
  /// See ``DeviceSteps``.
  public var deviceSteps = DeviceSteps.whole
  /// See ``Reaps``.
  public var reaps = Reaps.one
  /// See ``Client``.
  public var client = Client.eager
  /// Ways in which each bio may end: 1 success, 2 also IOERR, 3 also UNSUPP.
  public var statuses = 1
  /// Resets of the device that may happen, each at any step.
  public var resets = 0

  /// A scenario of these requests.
  public init(_ name: String, _ requests: [Request]) {
    self.name = name
    self.requests = requests
  }

  /// The scenario, changed by `edit`.
  public func with(_ edit: (inout Scenario) -> Void) -> Scenario {
    var changed = self
    edit(&changed)
    return changed
  }
}
