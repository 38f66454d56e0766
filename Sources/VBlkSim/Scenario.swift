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
    /// A spread read, or write: so many blocks at home, so many with the other member.
    case spread(home: Int, other: Int, isWrite: Bool, isDurable: Bool)

    var byteCount: Int {
      switch self {
      case .read(let blocks), .write(let blocks, _): 512 * blocks
      case .spread(let home, let other, _, _): 512 * (home + other)
      case .partial: 100
      case .flush: 0
      }
    }
  }

  /// Who the clients are.
  public enum Shape: Sendable {
    /// The queue's own thread.
    case queue
    /// A group of two queues: its home, and another on a loop of its own.
    case spread
    /// A port's client, and the loop that has the queue.
    case port
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
  /// See ``Shape``.
  public var shape = Shape.queue
  /// Devices that a spread operation lies on: 2 where there is less of it at home than elsewhere.
  public var devices = 1
  /// Whether other threads may act inside the end of a part: between error, drop and hand-over.
  public var isFine = false

  /// A scenario of these requests.
  public init(_ name: String, _ requests: [Request]) {
    self.name = name
    self.requests = requests
  }

  /// The world in which the scenario is played.
  ///
  /// - Throws: What the emulator and the driver throw where it can't be made.
  public func makeWorld() throws -> any World {
    switch shape {
    case .queue: try QueueWorld(self)
    case .spread: try SpreadWorld(self)
    case .port: try PortWorld(self)
    }
  }

  /// The scenario, changed by `edit`.
  public func with(_ edit: (inout Scenario) -> Void) -> Scenario {
    var changed = self
    edit(&changed)
    return changed
  }
}
