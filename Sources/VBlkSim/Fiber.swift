import Glibc

/// A thread that runs only while its maker waits for it: up to its next pause, or to the end of
/// what it was given. So two threads can stand in the midst of a step each, and the schedule says
/// which goes on.
final class Fiber: @unchecked Sendable {  // the two semaphores let one thread run at a time
  private let go = Semaphore()
  private let back = Semaphore()
  private var body: (() -> Void)?
  private var thread = pthread_t()
  /// Whether it stands in the midst of what it was given.
  private(set) var isPaused = false

  init() {
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    let error = unsafe pthread_create(&thread, nil, runFiber, context)
    precondition(error == 0, "no thread for a fiber: errno \(error)")
  }

  /// Ends the thread, which must not stand in the midst of something.
  deinit {
    precondition(!isPaused, "a fiber ends between two steps")
    body = nil
    go.post()
    pthread_join(thread, nil)
  }

  /// Runs `body` to its first pause, or its end.
  func start(_ body: @escaping () -> Void) {
    precondition(!isPaused, "a fiber does one thing at a time")
    self.body = body
    resume()
  }

  /// Goes on to the next pause, or the end.
  func resume() {
    go.post()
    back.wait()
  }

  /// For the body: stands still until ``resume()``.
  func pause() {
    isPaused = true
    back.post()
    go.wait()
    isPaused = false
  }

  fileprivate func run() {
    while true {
      go.wait()
      guard body != nil else { return }
      body?()
      // Whatever the body holds is given up before its maker goes on.
      body = nil
      back.post()
    }
  }
}

private func runFiber(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context = unsafe context {
    // Not retained: deinit waits for this thread.
    unsafe Unmanaged<Fiber>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.run() }
  }
  return nil
}

/// A semaphore of the system's. Its place is initialised as long as it lives.
@safe
private struct Semaphore: ~Copyable {
  private let place: UnsafeMutablePointer<sem_t>

  init() {
    unsafe place = .allocate(capacity: 1)
    unsafe sem_init(place, 0, 0)
  }

  deinit {
    unsafe sem_destroy(place)
    unsafe place.deallocate()
  }

  func post() { unsafe sem_post(place) }

  func wait() {
    while unsafe sem_wait(place) != 0 {}
  }
}
