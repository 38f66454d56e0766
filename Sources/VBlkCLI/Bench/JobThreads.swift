internal import Glibc
internal import Synchronization

/// Runs jobs side by side, each on a thread of its own: a polling job must not share one.
enum JobThreads {
  private final class Job: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  private final class Results<Value: Sendable>: Sendable {
    let values: Mutex<[Result<Value, any Error>?]>
    init(count: Int) { values = Mutex(Array(repeating: nil, count: count)) }
  }

  /// What each of `count` jobs returned, in their order; the first error, once all have ended.
  static func run<Value: Sendable>(
    count: Int, _ body: @escaping @Sendable (Int) throws -> Value
  ) throws -> [Value] {
    let results = Results<Value>(count: count)
    var threads: [pthread_t] = []
    for number in 0..<count {
      let job = Job {
        let result = Result { try body(number) }
        results.values.withLock { $0[number] = result }
      }
      let context = unsafe Unmanaged.passRetained(job)
      var thread = pthread_t()
      let status = unsafe pthread_create(
        &thread, nil,
        { context in
          guard let context = unsafe context else { return nil }
          unsafe Unmanaged<Job>.fromOpaque(context).takeRetainedValue().body()
          return nil
        }, context.toOpaque())
      guard status == 0 else {
        unsafe context.release()
        for thread in threads { pthread_join(thread, nil) }
        throw Failure(
          .busy, "no thread for job \(number + 1) of \(count)", remedy: "ask for fewer --numjobs")
      }
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
    return try results.values.withLock { values in
      try values.compactMap { try $0?.get() }
    }
  }
}
