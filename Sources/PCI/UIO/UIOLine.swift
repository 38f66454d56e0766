internal import CHostIO
internal import Glibc
internal import Synchronization

/// The device file of a function that uio_pci_generic has: it tells of the interrupt line (INTx),
/// and as it is closed, by a process that was killed too, the kernel turns the function's DMA off.
///
/// The file counts signals and is no eventfd, so a thread passes them on while a driver has one
/// connected. The kernel masks the line with each signal, by the command register.
final class UIOLine: Sendable {
  private let file: HostFile
  /// Whether the function has a line, and the kernel an interrupt for it.
  let canSignal: Bool
  private let relay = Mutex<Relay?>(nil)

  /// Opens the function's file; nil where no driver has it, or its node isn't there.
  init?(_ facts: FunctionFacts) {
    guard let name = (try? SystemRoots.names(in: "\(facts.directory)/uio"))??.first,
      let file = try? HostFile("\(facts.roots.dev)/\(name)")
    else { return nil }
    self.file = file
    let interrupt = (try? SystemRoots.word(at: "\(facts.directory)/irq")) ?? nil
    canSignal = interrupt.flatMap { Int($0) }.map((1..<Self.notConnected).contains) ?? false
  }

  /// The kernel's number for a line that leads nowhere; 0 is none.
  private static let notConnected = 1 << 31

  deinit { close() }

  /// Passes signals on to an eventfd, or no longer: none comes after this returns.
  func set(_ eventfd: CInt?) throws(FailedCall) {
    try relay.withLock { relay throws(FailedCall) in
      relay?.stop()
      relay = nil
      if let eventfd { relay = try Relay(from: file, to: eventfd) }
    }
  }

  /// May be repeated.
  func close() {
    try? set(nil)
    file.close()
  }
}

/// A thread that signals an eventfd whenever a UIO file counts one more.
private final class Relay: Sendable {
  private let file: HostFile
  private let eventfd: CInt
  private let stopping: CInt
  private let thread = Mutex<pthread_t?>(nil)

  init(from file: HostFile, to eventfd: CInt) throws(FailedCall) {
    self.file = file
    self.eventfd = eventfd
    stopping = chio_eventfd()
    guard stopping >= 0 else { throw FailedCall("eventfd", file.path) }
    var identifier = pthread_t()
    // The thread has a reference of its own, which it gives back when it ends.
    let context = unsafe Unmanaged.passRetained(self).toOpaque()
    let error = unsafe pthread_create(&identifier, nil, runRelay, context)
    guard error == 0 else {
      unsafe Unmanaged<Relay>.fromOpaque(context).release()
      throw FailedCall("pthread_create", file.path, code: error)
    }
    thread.withLock { $0 = identifier }
  }

  deinit { if stopping >= 0 { chio_close(stopping) } }

  /// Ends the thread and waits for it.
  func stop() {
    signal(stopping)
    if let identifier = thread.withLock({ $0.take() }) { _ = pthread_join(identifier, nil) }
  }

  /// What the thread runs, until it is stopped or the function is gone; that is signalled too.
  fileprivate func run() {
    while true {
      var entries = [
        pollfd(fd: file.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: stopping, events: Int16(POLLIN), revents: 0),
      ]
      let found = unsafe poll(&entries, 2, -1)
      if found < 0, errno == EINTR { continue }
      guard found > 0, entries[1].revents == 0 else { return }
      var count: UInt32 = 0
      let isThere = unsafe read(file.descriptor, &count, 4) == 4
      signal(eventfd)
      guard isThere else { return }
    }
  }

  private func signal(_ descriptor: CInt) {
    var one: UInt64 = 1
    // A counter that is full has told already.
    unsafe _ = write(descriptor, &one, 8)
  }
}

private func runRelay(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context = unsafe context {
    unsafe Unmanaged<Relay>.fromOpaque(context).takeRetainedValue().run()
  }
  return nil
}
