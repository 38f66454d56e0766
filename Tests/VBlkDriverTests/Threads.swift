import Glibc
import Synchronization
import Testing

/// Threads of a test's own: a polling client must not sit on one of the few that tests share.
enum Threads {
  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Runs `body` on each of `count` threads and waits for all; an error is an issue of the test.
  static func run(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) {
    let failures = Failures()
    let threads = (0..<count).map { number in
      start {
        do { try body(number) } catch { failures.add("thread \(number): \(error)") }
      }
    }
    for thread in threads { pthread_join(thread, nil) }
    for failure in failures.all { Issue.record("\(failure)") }
  }

  /// Starts a thread, which somebody must join.
  static func start(_ run: @escaping @Sendable () -> Void) -> pthread_t {
    var thread = pthread_t()
    let context = Unmanaged.passRetained(Body(run)).toOpaque()
    let error = pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run() }
        return nil
      }, context)
    precondition(error == 0, "no thread for a test: errno \(error)")
    return thread
  }

  private final class Failures: Sendable {
    private let list = Mutex<[String]>([])
    func add(_ failure: String) { list.withLock { $0.append(failure) } }
    var all: [String] { list.withLock { $0 } }
  }
}

/// How much the tests of loops do: little in every run, a lot where it is asked for.
enum Rounds {
  /// Operations of a test that runs once on each format: a third of `VBLK_ROUNDS`, or the number
  /// given.
  static func count(_ usual: Int) -> Int {
    guard let text = getenv("VBLK_ROUNDS"), let rounds = Int(String(cString: text)) else {
      return usual
    }
    return max(rounds / RingFormat.allCases.count, usual)
  }
}
