/// Wakes the device thread.
final class ThreadDoorbell: Sendable {
  func ring(_ index: Int) {}
  func wake() {}
}
