import Foundation
import Testing

/// What the commands do, on images of a test's own.
@Suite("Command line")
struct CommandTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(
    _ arguments: String, input: Data = Data(), status: Int32 = 0,
    location: SourceLocation = #_sourceLocation
  ) throws -> Data {
    let run = try VblkProcess.run(
      arguments.split(separator: " ").map(String.init), in: scratch, input: input)
    #expect(run.status == status, "vblk \(arguments): \(run.errors)", sourceLocation: location)
    return run.output
  }

  @Test("read gives exactly the bytes of an unaligned range, at every odd end")
  func readUnaligned() throws {
    let image = try scratch.image("a.img", byteCount: 1 << 20)
    let ranges = [(100, 1_000), (0, 1), (511, 2), (512, 512), (1_048_575, 1), (4_095, 131_074)]
    for (offset, length) in ranges {
      let bytes = try run("read emu:a.img --offset \(offset) --length \(length) -")
      #expect(bytes == image[offset..<offset + length], "\(offset) \(length)")
    }
    #expect(try run("read emu:a.img") == image)
    #expect(try run("read emu:a.img out.img").isEmpty)
    #expect(try scratch.read("out.img") == image)
  }

  @Test("write of an unaligned range changes nothing else in its blocks")
  func writeUnaligned() throws {
    for (offset, length) in [(100, 1_000), (0, 1), (511, 2), (1_048_575, 1), (4_095, 131_074)] {
      var image = try scratch.image("a.img", byteCount: 1 << 20)
      let bytes = try scratch.image("in", byteCount: length + 8 - length % 8, seed: 9)[..<length]
      _ = try run("write emu:a.img - --offset \(offset)", input: bytes)
      image.replaceSubrange(offset..<offset + length, with: bytes)
      #expect(try scratch.read("a.img") == image, "\(offset) \(length)")
    }
  }

  @Test("sizes are taken as 4k, 1KiB and 8s")
  func sizes() throws {
    let image = try scratch.image("a.img", byteCount: 1 << 20)
    #expect(try run("read emu:a.img --offset 8s --length 1KiB") == image[4_096..<5_120])
  }

  @Test("copy makes an image that is the source, as sparse as it is")
  func copySparse() throws {
    let size = 256 << 20
    try scratch.sparse("a.img", byteCount: size)
    let data = try scratch.image("data", byteCount: 4_096)
    // Scattered pages: a copy that rounds up to its chunks grows by megabytes.
    for place in stride(from: 0, to: size, by: 3_158_016) {
      let file = try FileHandle(forUpdating: URL(filePath: scratch.path("a.img")))
      try file.seek(toOffset: UInt64(place))
      try file.write(contentsOf: data)
      try file.close()
    }
    _ = try run("copy emu:a.img emu:b.img")
    _ = try run("compare emu:a.img emu:b.img")
    #expect(try scratch.read("a.img") == scratch.read("b.img"))
    #expect(scratch.diskByteCount("b.img") <= scratch.diskByteCount("a.img") + 1 << 20)
  }

  @Test("copy clears what stood in the destination, with and without write zeroes")
  func copyOver() throws {
    var image = try scratch.image("a.img", byteCount: 1 << 20)
    image.resetBytes(in: 65_536..<524_288)
    try image.write(to: URL(filePath: scratch.path("a.img")))
    for options in ["", ",write-zeroes=off", ",blk-size=4096", ",threaded"] {
      try scratch.image("b.img", byteCount: 1 << 20, seed: 5)
      _ = try run("copy emu:a.img emu:b.img\(options)")
      #expect(try scratch.read("b.img") == image, "b.img\(options)")
    }
  }

  @Test("copy leaves what the destination has beyond the source")
  func copyOntoLarger() throws {
    let image = try scratch.image("a.img", byteCount: 65_536)
    let larger = try scratch.image("b.img", byteCount: 131_072, seed: 5)
    _ = try run("copy emu:a.img emu:b.img")
    #expect(try scratch.read("b.img") == image + larger[65_536...])
  }

  @Test(
    "every way to run the device copies the same bytes",
    arguments: [
      "", ",threaded", ",indirect=off", ",event-idx=off", ",seg-max=1,size-max=4096",
      ",blk-size=4096", ",queue-size=4",
      ",in-order", ",packed,in-order,queue-size=5", ",in-order,indirect=off,threaded",
      ",packed,queue-size=1",
    ])
  func ways(options: String) throws {
    let image = try scratch.image("a.img", byteCount: 3 << 20)
    _ = try run("copy emu:a.img\(options) emu:b.img\(options)")
    #expect(try scratch.read("b.img") == image)
  }

  @Test("compare names the first byte that differs")
  func compare() throws {
    var image = try scratch.image("a.img", byteCount: 3 << 20)
    image[2_500_000] ^= 1
    try image.write(to: URL(filePath: scratch.path("b.img")))
    let run = try VblkProcess.run(["compare", "emu:a.img", "emu:b.img"], in: scratch)
    #expect(run.status == 1)
    #expect(run.errors == "vblk: emu:a.img and emu:b.img differ at byte 2500000\n")
  }

  @Test("zero and discard change their range alone; discard gives the space back")
  func zeroAndDiscard() throws {
    var image = try scratch.image("a.img", byteCount: 1 << 20)
    _ = try run("zero emu:a.img --offset 4k --length 8k")
    image.resetBytes(in: 4_096..<12_288)
    #expect(try scratch.read("a.img") == image)
    let before = scratch.diskByteCount("a.img")
    _ = try run("discard emu:a.img --offset 512k --length 256k")
    #expect(scratch.diskByteCount("a.img") < before)
    let after = try scratch.read("a.img")
    #expect(after[..<524_288] == image[..<524_288])
    #expect(after[786_432...] == image[786_432...])
    _ = try run("flush emu:a.img")
  }

  @Test("an image that is read is not opened for writing, nor touched")
  func readOnly() throws {
    try scratch.image("a.img", byteCount: 65_536)
    let attributes = try FileManager.default.attributesOfItem(atPath: scratch.path("a.img"))
    _ = try run("read emu:a.img")
    _ = try run("compare emu:a.img emu:a.img")
    let after = try FileManager.default.attributesOfItem(atPath: scratch.path("a.img"))
    #expect(attributes[.modificationDate] as? Date == after[.modificationDate] as? Date)
  }

  @Test("JSON is JSON, with a schema, and numbers that are whole")
  func json() throws {
    func parse(_ arguments: String) throws -> [String: Any] {
      let object = try JSONSerialization.jsonObject(with: try run(arguments))
      return try #require(object as? [String: Any])
    }
    let info = try parse("info emu:64M,serial=abc --json")
    #expect(info["schema"] as? String == "vblk.info/1")
    #expect(info["serial"] as? String == "abc")
    #expect(info["capacity_bytes"] as? Int == 64 << 20)
    let arena = try #require((info["arenas"] as? [[String: Any]])?.first)
    #expect([4_096, 2 << 20].contains(arena["page_bytes"] as? Int))
    #expect(arena["numa_node"] != nil)
    let bench = try parse("bench emu:16M --rw randrw --runtime 100ms --json")
    #expect(bench["schema"] as? String == "vblk.bench/1")
    let read = try #require(bench["read"] as? [String: Any])
    #expect((read["total_ios"] as? Int ?? 0) > 0)
    #expect((bench["write"] as? [String: Any])?["clat_ns"] != nil)
  }

  @Test("list is a table or JSON, or says that there is no bus")
  func list() throws {
    let table = try VblkProcess.run(["list"])
    guard table.status != 69 else {
      print("skipped: this machine shows no PCI bus")
      #expect(table.errors.contains("no PCI bus"))
      return
    }
    #expect(table.status == 0)
    let json = try VblkProcess.run(["list", "--json"])
    let object = try JSONSerialization.jsonObject(with: json.output) as? [String: Any]
    #expect(object?["schema"] as? String == "vblk.list/1")
    #expect(object?["functions"] is [Any])
  }

  @Test("a bench names its build, runs every pattern on several jobs, and may destroy if it's told")
  func bench() throws {
    for pattern in ["read", "write", "randread", "randwrite", "randrw"] {
      let text = String(
        decoding: try run("bench emu:16M --rw \(pattern) --runtime 50ms --numjobs 2 --iodepth 8"),
        as: UTF8.self)
      #expect(text.contains("rw=\(pattern), bs=4096, iodepth=8, numjobs=2, queues=2"))
      #expect(text.contains("IOPS="))
    }
    try scratch.image("a.img", byteCount: 1 << 20)
    _ = try run("bench emu:a.img --rw write --runtime 10ms --allow-destructive")
  }
}
