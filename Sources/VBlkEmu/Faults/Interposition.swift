internal import Glibc
internal import Virtio

/// Everything that stands between a request and its plain service: rules, hostility, trace, order.
struct Interposition {
  var tracing = false
  /// Whether writes do more than move data (zones, a modelled cache): none takes the short way.
  var isLong = false
  var order = CompletionOrder.inOrder
  var hostility: Hostility = []
  var defects: Defects = []
  /// Completions that are still honest before the hostility starts.
  var honest: UInt64 = 0
  /// Completions that will be hostile, then the device is honest again.
  var hostileLeft: UInt64 = .max

  private var rules: [FaultRule] = []
  private var matches: [UInt64] = []
  private var injected: [UInt64] = []
  private var random = SeededRandom(seed: 1)
  private var orderRandom = SeededRandom(seed: 1)

  /// Whether requests must take the long way.
  var isNeeded: Bool {
    tracing || isLong || order != .inOrder || !hostility.isDisjoint(with: .ring) || !rules.isEmpty
      || !defects.isDisjoint(with: .requests)
  }

  mutating func setRules(_ rules: [FaultRule], seed: UInt64) {
    self.rules = rules
    matches = Array(repeating: 0, count: rules.count)
    injected = Array(repeating: 0, count: rules.count)
    random = SeededRandom(seed: seed)
  }

  mutating func setOrder(_ order: CompletionOrder, queue: Int) {
    self.order = order
    if case .random(let seed) = order { orderRandom = SeededRandom(seed: seed &+ UInt64(queue)) }
  }

  /// What the rules want done with `request`.
  mutating func decide(_ request: Request) -> FaultAction? {
    guard request.framing == .complete else { return nil }
    for (index, rule) in rules.enumerated() {
      if let operations = rule.operations {
        guard let type = RequestType(rawValue: request.type), operations.contains(type) else {
          continue
        }
      }
      if let sectors = rule.sectors, !sectors.contains(request.sector) { continue }
      matches[index] += 1
      guard matches[index] > rule.skip, injected[index] < rule.count else { continue }
      guard rule.probability >= 1 || random.nextUnit() < rule.probability else { continue }
      injected[index] += 1
      return rule.action
    }
    return nil
  }

  /// Puts the requests of a batch into the order in which they shall complete.
  mutating func arrange(_ batch: inout [Request]) {
    switch order {
    case .inOrder: break
    case .reversed: batch.reverse()
    case .random:
      for index in stride(from: batch.count - 1, to: 0, by: -1) {
        batch.swapAt(index, orderRandom.next(below: index + 1))
      }
    }
  }

  /// Whether this completion is a hostile one.
  mutating func takeHostileTurn() -> Bool {
    guard !hostility.isDisjoint(with: .ring) else { return false }
    if honest > 0 {
      honest -= 1
      return false
    }
    guard hostileLeft > 0 else { return false }
    if hostileLeft != .max { hostileLeft -= 1 }
    return true
  }
}

extension DeviceQueue {
  /// Takes up to `count` requests by the long way: rules, then order, then completion.
  @inline(never)
  mutating func serveInterposed(_ count: UInt16) {
    releaseDelayed()
    var batch: [Request] = []
    for _ in 0..<Int(count) {
      var request = Request()
      guard fetchNext(&request) else { break }
      request.fault = interposition.decide(request)
      if request.fault != nil { counters.injectedFaults &+= 1 }
      batch.append(request)
    }
    let isReversed = interposition.defects.contains(.orderIgnored)
    if isReversed { batch.reverse() } else if !inOrder { interposition.arrange(&batch) }
    for index in batch.indices { serve(&batch[index]) }
  }

  /// Does one request as its fault says; under IN_ORDER one that is kept keeps all behind it.
  private mutating func serve(_ request: inout Request) {
    switch request.fault {
    case .hold, .delay: keep(request)
    case .drop:
      stamps[request.head] = HeadStamps.held
      if inOrder { keep(request) }
    default:
      if isBlocked {
        request.isWaiting = true
        keep(request)
      } else {
        perform(&request)
        completeInterposed(&request)
      }
    }
  }

  private mutating func keep(_ request: Request) {
    stamps[request.head] = HeadStamps.held
    inFlight[request.number] = request
  }

  /// Executes a request, or does what its fault puts in place of that.
  mutating func perform(_ request: inout Request) {
    switch request.fault {
    case .status(let status): request.status = status
    case .lose:
      request.status = RequestStatus.ok.rawValue
      request.dataWritten = request.writableBytes
      request.wroteAllData = true
    case .corrupt(let mask):
      execute(&request)
      corrupt(request, mask)
    default: execute(&request)
    }
  }

  /// Completes the delayed requests whose time has come; the others come one serve nearer.
  private mutating func releaseDelayed() {
    for number in inFlight.keys.sorted() {
      guard let request = inFlight[number], case .delay(let serves) = request.fault else {
        continue
      }
      if serves > 1 {
        inFlight[number]?.fault = .delay(serves: serves - 1)
      } else {
        release(request)
      }
    }
    completeUnblocked()
  }

  /// Completes a request that was held, or lets it wait for older ones only.
  ///
  /// - Returns: How many were completed.
  @discardableResult
  private mutating func release(_ request: Request) -> Int {
    var request = request
    if inOrder {
      request.fault = nil
      request.isWaiting = true
      inFlight[request.number] = request
      return completeUnblocked()
    }
    inFlight[request.number] = nil
    finishHeld(&request)
    return 1
  }

  /// Executes and completes a request that was held; its head is free again.
  mutating func finishHeld(_ request: inout Request) {
    stamps[request.head] = stamp
    perform(&request)
    completeInterposed(&request)
  }

  /// Completes what a rule holds or delays, oldest first, and tells the driver.
  ///
  /// - Returns: How many.
  mutating func releaseHeld() -> Int {
    guard live, checkMapped() else { return 0 }
    var count = 0
    for number in inFlight.keys.sorted() {
      guard let request = inFlight[number], request.isHeld else { continue }
      count += release(request)
    }
    finishBatch(wantKicks: true)
    return count
  }

  /// Flips bits of the first data byte of a request that was executed.
  private mutating func corrupt(_ request: Request, _ mask: UInt8) {
    guard request.status == RequestStatus.ok.rawValue, let memory = unsafe hostSegments.first else {
      return
    }
    if request.type == RequestType.read.rawValue {
      unsafe memory.storeBytes(of: memory.load(as: UInt8.self) ^ mask, as: UInt8.self)
    } else if request.type == RequestType.write.rawValue {
      var byte: UInt8 = 0
      let offset = request.sector << Sector.shift
      guard unsafe store.read(&byte, 1, at: offset) == 0 else { return }
      byte ^= mask
      _ = changeStore(1, at: offset) { unsafe store.write(&byte, 1, at: offset) }
    }
  }
}
