import Foundation
import Testing

/// `vblk zones`: each command is a process of its own, so what is told must have been written down.
@Suite("Command line: zones")
struct ZoneCommandTests {
  private let scratch: Scratch
  private let device = "emu:zoned.img,zoned=hm"

  init() throws {
    scratch = try Scratch()
    try scratch.sparse("zoned.img", byteCount: 256 << 20)
  }

  private struct Report: Decodable {
    struct Zone: Decodable {
      let zone: Int
      let startSector: UInt64
      let capacitySectors: UInt64
      let writePointerSector: UInt64?
      let type: String
      let state: String
    }
    let schema: String
    let model: String
    let zones: [Zone]
  }

  private struct Appended: Decodable {
    struct Append: Decodable {
      let sector: UInt64
      let byteCount: Int
    }
    let appends: [Append]
  }

  private let decoder: JSONDecoder = {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return decoder
  }()

  private func run(
    _ arguments: String, input: Data = Data()
  ) throws -> (status: Int32, output: Data, errors: String) {
    let run = try VblkProcess.run(
      arguments.split(separator: " ").map(String.init), in: scratch, input: input)
    return (run.status, run.output, run.errors)
  }

  private func report(_ device: String? = nil) throws -> [Report.Zone] {
    let run = try run("zones report \(device ?? self.device) --json")
    #expect(run.status == 0, "\(run.errors)")
    let report = try decoder.decode(Report.self, from: run.output)
    #expect(report.schema == "vblk.zones/1" && report.model == "host-managed")
    return report.zones
  }

  private func append(_ byteCount: Int, _ zone: Int, status: Int32 = 0) throws -> [UInt64] {
    let run = try run(
      "zones append \(device) --zone \(zone) --json", input: Data(repeating: 7, count: byteCount))
    #expect(run.status == status, "\(run.errors)")
    guard status == 0 else { return [] }
    return try decoder.decode(Appended.self, from: run.output).appends.map(\.sector)
  }

  @Test("report, append, report, reset: a new process shows the moved pointer")
  func show() throws {
    let fresh = try report()
    #expect(fresh.count == 16)
    #expect(fresh.allSatisfy { $0.state == "empty" && $0.writePointerSector == $0.startSector })
    #expect(try append(4096, 2) == [65_536])
    #expect(try append(8192, 2) == [65_544])
    let moved = try report()[2]
    #expect(moved.state == "implicitly-open" && moved.writePointerSector == 65_560)
    let text = try run("zones append \(device) --zone 2", input: Data(repeating: 1, count: 512))
    #expect(String(decoding: text.output, as: UTF8.self) == "sector 65560, 512 bytes\n")
    let read = try run("read \(device) --offset 32M --length 12k -")
    #expect(read.output == Data(repeating: 7, count: 12_288))
    #expect(try run("zones reset \(device) --zone 2 --json").status == 0)
    #expect(try report()[2].state == "empty")
    let gone = try run("read \(device) --offset 32M --length 12k -")
    #expect(gone.output == Data(count: 12_288))
  }

  @Test("open, close, finish and reset --all are told by the next process")
  func states() throws {
    #expect(try run("zones open \(device) --zone 1").status == 0)
    #expect(try run("zones open \(device) --offset 48M").status == 0)
    _ = try append(4096, 1)
    #expect(try run("zones close \(device) --zone 1").status == 0)
    #expect(try run("zones close \(device) --zone 3").status == 0)
    #expect(try run("zones finish \(device) --zone 5").status == 0)
    #expect(
      try report().map(\.state)[0..<6] == [
        "empty", "closed", "empty", "empty", "empty", "full",
      ])
    #expect(try run("zones reset \(device) --all").status == 0)
    #expect(try report().allSatisfy { $0.state == "empty" })
  }

  @Test("a write off the pointer, or across a zone's capacity, fails by its name: 74")
  func offThePointer() throws {
    let off = try run(
      "write \(device) - --offset 16M", input: Data(repeating: 3, count: 4096))
    #expect(off.status == 0, "\(off.errors)")
    let again = try run(
      "write \(device) - --offset 16M", input: Data(repeating: 3, count: 4096))
    #expect(again.status == 74)
    #expect(again.errors.contains("ZONE_UNALIGNED_WP") && again.errors.contains("virtio 1.3"))
    #expect(again.errors.filter { $0 == "\n" }.count == 1)
    let odd = try run("write \(device) - --offset 100", input: Data(count: 512))
    #expect(odd.status == 64, "\(odd.errors)")
    let full = try run("zones finish \(device) --zone 1")
    #expect(full.status == 0)
    let closed = try run("write \(device) - --offset 16388k", input: Data(count: 4096))
    #expect(closed.status == 74 && closed.errors.contains("ZONE_INVALID_CMD"))
  }

  @Test("a write over several zones ends where it should")
  func overZones() throws {
    let data = try scratch.image("in", byteCount: 20 << 20)
    let wrote = try run("write \(device) in --offset 0")
    #expect(wrote.status == 0, "\(wrote.errors)")
    let zones = try report()
    #expect(zones[0].state == "full" && zones[1].writePointerSector == 40_960)
    let back = try run("read \(device) --length 20M -")
    #expect(back.output == data)
  }

  @Test("limits and kinds are those of the device string, and errors have their names")
  func refusals() throws {
    let small = device + ",zone-size=1M,zone-capacity=512k,conventional=2,max-open=1,max-append=8k"
    let zones = try report(small)
    #expect(zones.count == 256 && zones[0].type == "conventional" && zones[0].state == "not-wp")
    #expect(zones[2].capacitySectors == 1024)
    for (arguments, status, part) in [
      ("zones open \(small) --zone 0", 74, "ZONE_INVALID_CMD"),
      ("zones open \(small) --offset 2560k", 74, "ZONE_INVALID_CMD"),
      ("zones open \(small) --zone 256", 64, "256"),
      ("zones open \(small)", 64, "--zone"),
      ("zones open \(small) --zone 1 --offset 1M", 64, "--zone"),
      ("zones report emu:64M", 69, "no zones"),
      ("zones report emu:64M,zone-size=1M", 64, "zoned"),
      ("zones report emu:64M,zoned=xx", 64, "hm"),
      ("zones report emu:64M,zoned=hm,zone-size=1000", 64, "zone-size"),
      ("zones report \(device),zone-size=4M", 66, "zoned.img.zones"),
      ("info pci:00:05.0,zoned=hm", 64, "emu: devices only"),
    ] as [(String, Int32, String)] {
      let run = try run(arguments)
      #expect(run.status == status && run.errors.contains(part), "\(arguments): \(run.errors)")
    }
    #expect(try run("zones open \(small) --zone 2").status == 0)
    let second = try run("zones open \(small) --zone 3")
    #expect(second.status == 74 && second.errors.contains("ZONE_OPEN_RESOURCE"))
    // The shape is the file's where the string doesn't say.
    #expect(try report().count == 256)
  }

  @Test("a damaged zone file is refused, not guessed: 66")
  func damaged() throws {
    _ = try append(4096, 0)
    var bytes = try scratch.read("zoned.img.zones")
    bytes[64] ^= 1
    try bytes.write(to: URL(filePath: scratch.path("zoned.img.zones")))
    let run = try run("zones report \(device)")
    #expect(run.status == 66 && run.errors.contains("zone 0"), "\(run.errors)")
    #expect(try scratch.read("zoned.img.zones") == bytes)
  }
}
