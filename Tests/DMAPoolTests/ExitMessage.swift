import Glibc
import Testing

/// What a trap exits with.
let trapSignal = SIGILL

/// Expects that a process which trapped said why. A release build prints no message (measured), so
/// it is looked for in debug builds only.
func expectMessage(
  _ result: ExitTest.Result?, _ message: String,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #if DEBUG
    guard let result else { return }
    let text = String(decoding: result.standardErrorContent, as: UTF8.self)
    #expect(text.contains(message), "\(text)", sourceLocation: sourceLocation)
  #endif
}
