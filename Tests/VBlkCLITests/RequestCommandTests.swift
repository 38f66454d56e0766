import Foundation
import Testing

/// `vblk cache`, `vblk lifetime` and `vblk discard --secure`.
@Suite("Command line: cache, lifetime, erase")
struct RequestCommandTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String) throws -> (status: Int32, output: String, errors: String) {
    let run = try VblkProcess.run(
      arguments.split(separator: " ").map(String.init), in: scratch)
    return (run.status, String(decoding: run.output, as: UTF8.self), run.errors)
  }

  @Test("cache shows the mode and switches it")
  func cache() throws {
    #expect(try run("cache emu:64M").output == "writeback\n")
    #expect(try run("cache emu:64M writethrough").output == "writethrough\n")
    #expect(try run("cache emu:64M writeback").output == "writeback\n")
    let json = try run("cache emu:64M writethrough --json").output
    #expect(
      json == "{\"schema\":\"vblk.cache/1\",\"device\":\"emu:64M\",\"cache\":\"writethrough\","
        + "\"switchable\":true}\n")
  }

  @Test("a cache that can't be switched is exit 69, a mode that isn't one 64")
  func cacheRefused() throws {
    let fixed = try run("cache emu:64M,config-wce=off writethrough")
    #expect(fixed.status == 69 && fixed.errors.contains("CONFIG_WCE"))
    #expect(try run("cache emu:64M,flush=off").output == "writethrough\n")
    #expect(try run("cache emu:64M sometimes").status == 64)
    #expect(try run("cache emu:64M,read-only writeback").status == 73)
  }

  @Test("lifetime shows the wear, and without the feature is exit 69")
  func lifetime() throws {
    let told = try run("lifetime emu:64M,lifetime --json")
    #expect(told.status == 0)
    #expect(
      told.output
        == "{\"schema\":\"vblk.lifetime/1\",\"device\":\"emu:64M,lifetime\","
        + "\"reserved_blocks\":\"normal\",\"slc_used_percent_max\":10,\"slc_exceeded\":false,"
        + "\"mlc_used_percent_max\":10,\"mlc_exceeded\":false}\n")
    #expect(try run("lifetime emu:64M,lifetime").output.contains("up to 10 % used"))
    #expect(try run("lifetime emu:64M").status == 69)
  }

  @Test("discard --secure erases whole units and is refused where there are none")
  func secureErase() throws {
    var image = try scratch.image("a.img", byteCount: 1 << 20)
    let erased = try run("discard emu:a.img,secure-erase --secure --offset 64k --length 128k")
    #expect(erased.status == 0, "\(erased.errors)")
    image.resetBytes(in: 65_536..<196_608)
    #expect(try scratch.read("a.img") == image)
    let odd = try run("discard emu:a.img,secure-erase --secure --offset 512 --length 4k")
    #expect(odd.status == 64 && odd.errors.contains("4096"))
    #expect(try run("discard emu:a.img --secure").status == 69)
    #expect(try scratch.read("a.img") == image)
  }
}
