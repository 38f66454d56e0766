import Foundation

/// The command as its users have it: the program of this build, run as a process.
struct VblkProcess {
  let status: Int32
  let output: Data
  let errors: String

  /// No command of a test takes longer; one that does is killed, and its status says so.
  static let limitSeconds = 60

  /// The program beside the test bundle.
  static let program: URL = {
    let bundle = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    let beside = bundle.deletingLastPathComponent().appending(path: "vblk")
    let tree = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return FileManager.default.isExecutableFile(atPath: beside.path)
      ? beside : tree.appending(path: ".build/debug/vblk")
  }()

  /// Runs `vblk` with arguments in a directory, and waits for it.
  static func run(
    _ arguments: [String], in directory: Scratch? = nil, input: Data = Data()
  ) throws -> VblkProcess {
    try run(program, arguments, in: directory, input: input)
  }

  /// Runs any program.
  static func run(
    _ program: URL, _ arguments: [String], in directory: Scratch? = nil, input: Data = Data(),
    whileRunning: ((RunningProcess) throws -> Void)? = nil
  ) throws -> VblkProcess {
    // Files rather than pipes: a pipe that nobody reads would hold the process up.
    let scratch = try Scratch()
    let stdin = scratch.path("stdin")
    try input.write(to: URL(filePath: stdin))
    for name in ["stdout", "stderr"] {
      try Data().write(to: URL(filePath: scratch.path(name)))
    }
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    if let directory { process.currentDirectoryURL = URL(filePath: directory.root) }
    process.standardInput = FileHandle(forReadingAtPath: stdin)
    process.standardOutput = FileHandle(forWritingAtPath: scratch.path("stdout"))
    process.standardError = FileHandle(forWritingAtPath: scratch.path("stderr"))
    try process.run()
    let running = RunningProcess(process: process)
    try whileRunning?(running)
    running.waitOrKill(seconds: limitSeconds)
    return VblkProcess(
      status: process.terminationReason == .exit
        ? process.terminationStatus : 128 + process.terminationStatus,
      output: try Data(contentsOf: URL(filePath: scratch.path("stdout"))),
      errors: try String(contentsOfFile: scratch.path("stderr"), encoding: .utf8))
  }
}

/// A command that runs. Its waits look every 10 ms, and have a bound.
struct RunningProcess {
  let process: Process

  /// Sends a signal once the command catches SIGINT: what comes earlier would just kill it.
  func signal(_ number: Int32) {
    wait(seconds: 10) { catchesInterrupt(process.processIdentifier) }
    kill(process.processIdentifier, number)
  }

  /// Waits for the end of the process, and ends it where that takes too long.
  func waitOrKill(seconds: Int) {
    wait(seconds: seconds) { !process.isRunning }
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  private func wait(seconds: Int, until condition: () -> Bool) {
    for _ in 0..<seconds * 100 where !condition() { _ = poll(nil, 0, 10) }
  }

  private func catchesInterrupt(_ process: pid_t) -> Bool {
    let text = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
    let lines = text.split(separator: "\n")
    let mask = lines.first { $0.hasPrefix("SigCgt:") }
      .flatMap { UInt64($0.dropFirst(7).trimmingCharacters(in: .whitespaces), radix: 16) }
    // bash catches SIGINT too, before it becomes the command.
    return lines.first == "Name:\tvblk" && (mask ?? 0) & (1 << UInt64(SIGINT - 1)) != 0
  }
}

/// A directory of a test's own, gone with the value.
final class Scratch: Sendable {
  let root: String

  init() throws {
    root = NSTemporaryDirectory() + "vblk-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  func path(_ name: String) -> String { "\(root)/\(name)" }

  func read(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: path(name))) }

  /// Writes a file of `byteCount` bytes that don't repeat, the same for the same seed.
  @discardableResult
  func image(_ name: String, byteCount: Int, seed: UInt64 = 1) throws -> Data {
    var state = seed
    var data = Data(count: byteCount)
    for index in 0..<byteCount / 8 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let word = state ^ (state >> 29)
      unsafe data.withUnsafeMutableBytes {
        unsafe $0.storeBytes(of: word, toByteOffset: index * 8, as: UInt64.self)
      }
    }
    try data.write(to: URL(filePath: path(name)))
    return data
  }

  /// Makes a file that has a size and nothing in it.
  func sparse(_ name: String, byteCount: Int) throws {
    try Data().write(to: URL(filePath: path(name)))
    let file = try FileHandle(forWritingTo: URL(filePath: path(name)))
    try file.truncate(atOffset: UInt64(byteCount))
    try file.close()
  }

  /// Bytes that the file takes on its disk.
  func diskByteCount(_ name: String) -> Int {
    var information = stat()
    return unsafe stat(path(name), &information) == 0 ? Int(information.st_blocks) * 512 : -1
  }
}
