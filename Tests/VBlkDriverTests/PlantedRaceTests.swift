import CHostIO
import Glibc
import Testing

@testable import VBlkDriver

/// A race on purpose, so that the thread sanitizer's silence about the others means something; only
/// where `VBLK_PLANTED_RACE` asks for it (Tests/Sanitizers/planted-race.sh).
@Suite("A planted race", .enabled(if: getenv("VBLK_PLANTED_RACE") != nil))
struct PlantedRaceTests {
  @Test("a completion read without having seen its position: order Q left out")
  func withoutOrderQ() {
    let memory = PortMemory(capacity: 1)
    let finished = Counter()
    Threads.run(2) { thread in
      defer { finished.add() }
      if thread == 0 {
        memory.rings.push(
          KeptCompletion(tag: 7, result: IOResult(success: 1), source: .none))
      } else {
        // However the two run, nothing orders this read after that write.
        #expect([0, 7].contains(memory.rings.completion(at: 0).tag))
      }
    }
    #expect(finished.value == 2)
  }
}
