import Testing

@testable import VBlkCLI

/// `vblk events`, and `vblk bench` on the rings and ways to wait that there are.
@Suite("Command line: events and ways to run")
struct EventsTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ line: String) throws -> String {
    let run = try VblkProcess.run(line.split(separator: " ").map(String.init), in: scratch)
    #expect(run.status == 0, "\(line): \(run.errors)")
    return String(decoding: run.output, as: UTF8.self)
  }

  @Test("a rehearsal shows each event once, in order, and ends")
  func rehearsal() throws {
    #expect(
      try run("events emu:64M --rehearse")
        == "resized 33554432 bytes (32 MiB)\nneeds-reset\nremoved\n")
    #expect(
      try run("events emu:64M --rehearse --json")
        == """
        {"schema":"vblk.event/1","event":"resized","bytes":33554432}
        {"schema":"vblk.event/1","event":"needs-reset"}
        {"schema":"vblk.event/1","event":"removed"}

        """)
    #expect(try run("events emu:64M --rehearse --count 1").hasPrefix("resized"))
    #expect(try run("events emu:64M --runtime 100ms").isEmpty)
  }

  @Test(
    "bench runs on every ring and with every way to wait",
    arguments: [
      "emu:256M,null", "emu:256M,null,packed", "emu:256M,null,in-order",
      "emu:256M,null,packed,in-order", "emu:256M,null,indirect=off",
      "emu:256M,null,event-idx=off", "emu:256M,null,packed,indirect=off,event-idx=off",
      "emu:256M,null,in-order,indirect=off,event-idx=off",
      "emu:256M,null,notification-data,notif-config-data,order-platform,ring-reset,suspend",
      "emu:64M,threaded --wait interrupt", "emu:64M,threaded,packed --wait adaptive",
      "emu:64M,threaded,in-order --wait busy",
    ])
  func bench(device: String) throws {
    let text = try run("bench \(device) --rw randread --bs 4k --iodepth 32 --runtime 100ms")
    #expect(text.contains("IOPS="), "\(text)")
  }
}
