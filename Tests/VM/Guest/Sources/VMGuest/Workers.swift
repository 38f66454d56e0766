import Glibc

/// Threads, one a number, all of which end before the call does.
enum Workers {
  private final class Box: Sendable {
    let number: Int
    let body: @Sendable (Int) -> Void

    init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
      self.number = number
      self.body = body
    }
  }

  static func run(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    var threads: [pthread_t] = []
    for number in 0..<count {
      var thread = pthread_t()
      let box = Unmanaged.passRetained(Box(number, body)).toOpaque()
      let status = pthread_create(
        &thread, nil,
        { argument in
          guard let argument else { return nil }
          let box = Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
          box.body(box.number)
          return nil
        }, box)
      precondition(status == 0, "pthread_create: \(status)")
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
  }
}

/// One line, written whole: the host reads what the guest prints while it still runs.
func say(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
}

func fail(_ line: String) -> Never {
  say("vm-guest: \(line)")
  exit(1)
}

func nanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
