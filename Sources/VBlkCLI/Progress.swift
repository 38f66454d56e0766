internal import Glibc
internal import VBlk

/// How far a long command is, on a terminal and nowhere else.
struct Progress {
  /// A terminal is written to at most this often.
  static let intervalNanoseconds: UInt64 = 100_000_000

  private let verb: String
  private let total: UInt64
  private let isShown: Bool
  private var shownAt: UInt64 = 0
  private var hasLine = false

  init(_ verb: String, total: UInt64, isShown: Bool = Terminal.showsProgress) {
    self.verb = verb
    self.total = total
    self.isShown = isShown
  }

  /// Shows the bytes that are done, if it's time to.
  mutating func update(_ done: UInt64) {
    guard isShown else { return }
    let now = Clock.nanoseconds
    guard now &- shownAt >= Self.intervalNanoseconds else { return }
    shownAt = now
    hasLine = true
    Terminal.write("\r\u{1B}[K" + Self.line(verb, done, of: total), to: STDERR_FILENO)
  }

  /// Wipes the line.
  mutating func finish() {
    if hasLine { Terminal.write("\r\u{1B}[K", to: STDERR_FILENO) }
    hasLine = false
  }

  /// "copy: 512 MiB of 1 GiB (50 %)".
  static func line(_ verb: String, _ done: UInt64, of total: UInt64) -> String {
    let percent = total == 0 ? 100 : Int(Double(done) / Double(total) * 100)
    return "\(verb): \(ByteSize.describe(done)) of \(ByteSize.describe(total)) (\(percent) %)"
  }
}
