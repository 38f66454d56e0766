import Foundation
import Testing

/// Each thing that can be given wrongly: one line that says what, and the exit code.
@Suite("Command line: bad input")
struct BadInputTests {
  struct Row: Sendable, CustomTestStringConvertible {
    let arguments: String
    let status: Int32
    let parts: [String]

    init(_ arguments: String, _ status: Int32, _ parts: String...) {
      self.arguments = arguments
      self.status = status
      self.parts = parts
    }

    var testDescription: String { "vblk \(arguments)" }
  }

  static let rows = [
    Row("nonsense", 64, "'nonsense'"),
    Row("read", 64, "'<device>'"),
    Row("read floppy:0", 64, "\"floppy:0\" is no device", "emu:64M"),
    Row("read emu:missing.img", 66, "missing.img", "No such file"),
    Row("read emu:folder", 66, "folder is a directory"),
    Row("read emu:odd.img", 66, "odd.img has 1000 bytes", "512"),
    Row("read emu:empty.img", 66, "empty.img has 0 bytes"),
    Row("read emu:a.img --offset 2M", 64, "2097152", "1048576"),
    Row("read emu:a.img --length 2M", 64, "beyond the end", "--length up to 1048576"),
    Row("read emu:a.img --offset 4q", 64, "4q", "KiB"),
    Row("read emu:a.img --offset -1", 64),
    Row("read emu:a.img nowhere/out", 66, "nowhere/out"),
    Row("read emu:a.img,size-max=100", 69, "size_max is 100"),
    Row("write emu:a.img,read-only a.img", 73, "read-only"),
    Row("write emu:a.img missing", 66, "missing"),
    Row("write emu:a.img folder", 66, "folder is a directory"),
    Row("write emu:a.img --offset 1048000 a.img", 64, "beyond the end", "--length up to 576"),
    Row("zero emu:a.img --offset 100", 64, "whole blocks", "--offset 0"),
    Row("zero emu:a.img,write-zeroes=off", 69, "does not support"),
    Row("discard emu:a.img,discard=off", 69, "does not support"),
    Row("discard emu:a.img --length 3", 64, "whole blocks"),
    Row("copy emu:a.img emu:./a.img", 64, "the same file"),
    Row("copy emu:a.img emu:nowhere/b.img", 66, "nowhere/b.img"),
    Row("copy emu:a.img emu:64s", 64, "32768", "1048576"),
    Row("compare emu:a.img emu:64s", 1, "differ at byte 0"),
    Row("info emu:1M,queue-size=0", 64, "queue-size", "from 1 to 32768"),
    Row("info emu:1M,queue-size=65536", 64, "queue-size", "32768"),
    Row("info emu:1M,seg-max=0", 64, "seg-max", "from 1"),
    Row("info emu:1M,queues=65", 64, "65", "64"),
    Row("info emu:1M,indirect=off,queue-size=2", 69, "too few"),
    Row("info pci:ff:1f.7", 69, "0000:ff:1f.7"),
    Row("info vhost-user:/run/none", 69, "/run/none"),
    Row("bench emu:a.img --rw randwrite", 73, "--allow-destructive"),
    Row("bench emu:1M --rw trim", 64, "trim"),
    Row("bench emu:1M --bs 1000", 64, "--bs 1000", "512"),
    Row("bench emu:1M --bs 2M", 64, "--bs 2097152"),
    Row("bench emu:1M --iodepth 0", 64, "--iodepth 0"),
    Row("bench emu:1M --runtime 0", 64, "--runtime 0"),
    Row("bench emu:1M --runtime soon", 64, "soon"),
    Row("bench emu:1M --wait sleepy", 64, "sleepy", "busy, adaptive, interrupt"),
    Row("events pci:00:02.0 --rehearse", 64, "--rehearse", "emu:"),
    Row("events emu:1M --runtime soon", 64, "soon"),
    Row("events emu:1M --count 0", 64, "--count 0"),
    Row("info emu:1M,packed,queue-size=32769", 64, "queue-size", "from 1 to 32768"),
    Row("info emu:1M,packed,indirect=off,queue-size=2", 69, "too few"),
    Row("bench emu:1M --numjobs 2 --queues 1", 64, "--queues 1"),
    Row("bench emu:1M,queue-size=4,indirect=off --iodepth 32", 64, "--iodepth 32", "1 to 1"),
  ]

  @Test("is refused in one line, and nothing changes", arguments: rows)
  func refused(row: Row) throws {
    let scratch = try Scratch()
    let image = try scratch.image("a.img", byteCount: 1 << 20)
    try scratch.sparse("odd.img", byteCount: 1_000)
    try scratch.sparse("empty.img", byteCount: 0)
    try FileManager.default.createDirectory(
      atPath: scratch.path("folder"), withIntermediateDirectories: true)
    let before = try FileManager.default.contentsOfDirectory(atPath: scratch.root).sorted()

    let run = try VblkProcess.run(
      row.arguments.split(separator: " ").map(String.init), in: scratch)

    #expect(run.status == row.status, "\(run.errors)")
    #expect(run.output.isEmpty)
    #expect(run.errors.hasPrefix("vblk: "))
    #expect(run.errors.hasSuffix("\n"))
    #expect(run.errors.filter { $0 == "\n" }.count == 1, "\(run.errors)")
    for part in row.parts { #expect(run.errors.contains(part), "\(run.errors)") }
    #expect(try scratch.read("a.img") == image)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: scratch.root).sorted() == before)
  }

  @Test("an input that is longer than the device, or shorter than asked for")
  func inputLength() throws {
    let scratch = try Scratch()
    try scratch.sparse("a.img", byteCount: 4_096)
    let long = try VblkProcess.run(
      ["write", "emu:a.img"], in: scratch, input: Data(count: 4_097))
    #expect(long.status == 64)
    let short = try VblkProcess.run(
      ["write", "emu:a.img", "-", "--length", "20"], in: scratch, input: Data(count: 10))
    #expect(short.status == 66)
    #expect(short.errors.contains("10 of 20"))
  }

  @Test("stdout that is full, and stdout that nobody reads")
  func output() throws {
    let shell = URL(filePath: "/bin/bash")
    let program = VblkProcess.program.path
    let full = try VblkProcess.run(shell, ["-c", "'\(program)' read emu:1M >/dev/full"])
    #expect(full.status == 74)
    #expect(full.errors.hasPrefix("vblk: can't write stdout: No space"))
    let gone = try VblkProcess.run(
      shell, ["-c", "'\(program)' read emu:8M | true; exit ${PIPESTATUS[0]}"])
    #expect(gone.status == 74)
    #expect(gone.errors.hasPrefix("vblk: can't write stdout: Broken pipe"))
  }

  @Test("a full disk under the image: 74, and the source is as it was")
  func fullDisk() throws {
    let scratch = try Scratch()
    let image = try scratch.image("a.img", byteCount: 4 << 20)
    try FileManager.default.createDirectory(
      atPath: scratch.path("small"), withIntermediateDirectories: true)
    let run = try VblkProcess.run(
      URL(filePath: "/usr/bin/unshare"),
      [
        "-rm", "/bin/bash", "-c",
        "mount -t tmpfs -o size=1m none small || exit 200; "
          + "'\(VblkProcess.program.path)' copy emu:a.img emu:small/b.img",
      ], in: scratch)
    guard run.status != 200, !run.errors.contains("unshare") else {
      print("skipped: no tmpfs in a mount namespace of one's own here")
      return
    }
    #expect(run.status == 74, "\(run.errors)")
    #expect(run.errors.hasPrefix("vblk: writing emu:small/b.img failed"))
    #expect(try scratch.read("a.img") == image)
  }
}
