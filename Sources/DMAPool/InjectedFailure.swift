import Synchronization

/// Makes one system call of the current task fail, so that tests see every way out.
final class InjectedFailure: Sendable {
  /// The failure in force; nil outside tests.
  @TaskLocal static var current: InjectedFailure?

  private let call: HostCall?
  private let code: CInt
  private let callsBefore: Atomic<Int>

  /// Fails the call that comes after `callsBefore` others with `code`; only calls of the kind
  /// `call` count, or all of them if it is nil.
  init(_ call: HostCall?, after callsBefore: Int, code: CInt) {
    self.call = call
    self.code = code
    self.callsBefore = Atomic(callsBefore)
  }

  /// Whether the call was reached and failed.
  var hasFired: Bool { callsBefore.load(ordering: .relaxed) < 0 }

  /// The errno that `call` must fail with, or nil.
  func next(_ call: HostCall) -> CInt? {
    guard self.call == nil || self.call == call else { return nil }
    return callsBefore.subtract(1, ordering: .relaxed).oldValue == 0 ? code : nil
  }
}
