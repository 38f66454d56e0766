import Foundation
import Testing

/// ^C and worse, in the middle of a command.
@Suite("Command line: interrupts")
struct InterruptTests {
  @Test("SIGINT ends a bench early: drained, device reset, 130", arguments: ["", ",threaded"])
  func bench(options: String) throws {
    let run = try VblkProcess.run(
      VblkProcess.program, ["bench", "emu:64M,null\(options)", "--runtime", "50s"]
    ) { process in
      process.signal(SIGINT)
    }
    #expect(run.status == 130, "\(run.errors)")
    #expect(run.errors.hasPrefix("vblk: interrupted"))
    #expect(String(decoding: run.output, as: UTF8.self).contains("IOPS="))
  }

  @Test("SIGINT ends a copy: 130, the source is as it was", arguments: [SIGINT, SIGTERM])
  func copy(signal: Int32) throws {
    let scratch = try Scratch()
    try scratch.sparse("a.img", byteCount: 64 << 30)
    let run = try VblkProcess.run(
      VblkProcess.program, ["copy", "emu:a.img", "emu:b.img"], in: scratch
    ) { process in
      process.signal(signal)
    }
    #expect(run.status == 130, "\(run.errors)")
    #expect(run.errors.contains("interrupted"))
    #expect(scratch.diskByteCount("a.img") == 0)
  }

  @Test("SIGKILL in the middle of a copy leaves the source untouched")
  func killed() throws {
    let scratch = try Scratch()
    let image = try scratch.image("a.img", byteCount: 1 << 20)
    let file = try FileHandle(forUpdating: URL(filePath: scratch.path("a.img")))
    try file.truncate(atOffset: 64 << 30)
    let run = try VblkProcess.run(
      VblkProcess.program, ["copy", "emu:a.img", "emu:b.img"], in: scratch
    ) { process in
      process.signal(SIGKILL)
    }
    #expect(run.status == 128 + SIGKILL)
    #expect(try file.seekToEnd() == 64 << 30)
    try file.seek(toOffset: 0)
    #expect(try file.read(upToCount: 1 << 20) == image)
  }

  @Test("a reader of stdin that waits for input is interrupted too")
  func stdin() throws {
    let fifo = try Scratch()
    #expect(unsafe mkfifo(fifo.path("in"), 0o600) == 0)
    let run = try VblkProcess.run(
      URL(filePath: "/bin/bash"),
      ["-c", "exec '\(VblkProcess.program.path)' write emu:1M - <>in"], in: fifo
    ) { process in
      process.signal(SIGINT)
    }
    #expect(run.status == 130, "\(run.errors)")
  }
}
