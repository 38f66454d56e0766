import Foundation
import Testing

/// What the types forbid does not compile: each snippet is given to the compiler beside the modules
/// of this build, and its refusal is looked at; a snippet without the mistake must be accepted.
@Suite("The compiler refuses", .serialized)
struct CompilerTests {
  @Test("the correct use compiles, so that a refusal below is for the mistake alone")
  func correct() throws {
    let output = try compile(
      """
      func use(_ device: Device) throws {
        var queue = try device.makeQueue()
        let buffer = try device.memory.allocate(byteCount: 512)
        _ = queue.submitRead(at: 0, into: buffer, tag: 1)
        queue.kick()
        while let done = queue.next() { _ = done.tag }
      }
      """)
    #expect(!output.contains("error:"), "\(output)")
  }

  @Test("a buffer used twice, or looked at while it is in flight")
  func bufferTwice() throws {
    for line in [
      "_ = queue.submitRead(at: 0, into: buffer, tag: 2)", "_ = buffer.byteCount",
      "try queue.write(at: 0, from: buffer)",
    ] {
      let output = try compile(
        """
        func use(_ device: Device) throws {
          var queue = try device.makeQueue()
          let buffer = try device.memory.allocate(byteCount: 512)
          _ = queue.submitRead(at: 0, into: buffer, tag: 1)
          \(line)
        }
        """)
      #expect(
        output.contains("error: 'buffer' consumed more than once")
          || output.contains("error: 'buffer' used after consume"), "\(line): \(output)")
    }
  }

  @Test("T16 two-pollers: a second poller of one queue, of one port, of one group")
  func secondPoller() throws {
    for type in ["Queue", "Port", "PollGroup"] {
      let copied = try compile(
        """
        func use(_ first: consuming \(type)) {
          var second = first
          _ = first.next()
          _ = second.next()
        }
        """)
      #expect(
        copied.contains("error: 'first' used after consume")
          || copied.contains("error: 'first' consumed"), "\(type): \(copied)")
      let shared = try compile(
        """
        func use(_ first: consuming \(type)) {
          for _ in 0..<2 { Task.detached { _ = first.next() } }
        }
        """)
      #expect(shared.contains("error:"), "\(type): \(shared)")
      #expect(shared.contains("noncopyable") || shared.contains("data races"), "\(type): \(shared)")
    }
  }

  @Test("a queue polled from inside its own poll")
  func pollInPoll() throws {
    let output = try compile(
      """
      func use(_ queue: inout Queue) {
        queue.poll { _ in _ = queue.next() }
      }
      """)
    #expect(output.contains("error: overlapping accesses to 'queue'"), "\(output)")
  }

  // MARK: - The compiler

  /// What the compiler says about the snippet; the modules are those of this build.
  private func compile(_ snippet: String) throws -> String {
    let path = NSTemporaryDirectory() + "vblk-snippet-\(UUID().uuidString).swift"
    try ("import VBlkDriver\n" + snippet + "\n").write(
      toFile: path, atomically: false, encoding: .utf8)
    // Some refusals come after type checking, with the flow of ownership.
    defer { for end in ["", ".sil"] { try? FileManager.default.removeItem(atPath: path + end) } }
    let build = try buildDirectory()
    let maps = [
      "\(build)/CHostIO.build/module.modulemap", "\(Tree.root)/Sources/CNuma/module.modulemap",
      "\(Tree.root)/Sources/CPci/module.modulemap",
    ].flatMap { ["-Xcc", "-fmodule-map-file=\($0)"] }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments =
      [
        "swiftc", "-emit-sil", "-o", path + ".sil", "-swift-version", "6", "-parse-as-library",
        "-Xcc", "-D_GNU_SOURCE",
        "-I",
        "\(build)/Modules",
      ]
      + maps + [path]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self)
  }

  /// Where this build is: beside the running test.
  private func buildDirectory() throws -> String {
    let bundle = try #require(CommandLine.arguments.first { $0.hasSuffix(".xctest") })
    return URL(filePath: bundle).deletingLastPathComponent().path
  }
}
