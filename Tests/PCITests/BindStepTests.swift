import Foundation
import Testing

@testable import PCI

/// The steps on real files: what they do is what their line does in a shell.
@Suite("Binding: steps")
struct BindStepTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree() }

  private func shell(_ line: String) throws {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", line]
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(line)")
  }

  @Test("do what their line does in a shell")
  func sameAsShell() throws {
    func steps(_ name: String) -> [BindStep] {
      [
        .write(path: "\(tree.root)/\(name)/a", line: "vfio-pci"),
        .write(path: "\(tree.root)/\(name)/b", line: ""),
        .stopBusMaster(config: "\(tree.root)/\(name)/config", command: 0x0103),
        .stopBusMaster(config: "\(tree.root)/\(name)/config2", command: 0x8400),
      ]
    }
    for name in ["ours", "shell"] {
      for file in ["a", "b"] { try tree.write("\(name)/\(file)", "") }
      for file in ["config", "config2"] {
        try tree.write("\(name)/\(file)", bytes: FakeTree.config(command: 0x0507))
      }
    }
    for step in steps("ours") { try step.perform() }
    for step in steps("shell") { try shell(step.description) }
    for file in ["a", "b", "config", "config2"] {
      let ours = try Data(contentsOf: URL(filePath: "\(tree.root)/ours/\(file)"))
      #expect(
        ours == (try Data(contentsOf: URL(filePath: "\(tree.root)/shell/\(file)"))), "\(file)")
    }
    #expect(try tree.text("ours/a") == "vfio-pci\n")
    #expect(try tree.text("ours/b") == "\n")
    let config = try Data(contentsOf: URL(filePath: "\(tree.root)/ours/config"))
    #expect(Array(config) == FakeTree.config(command: 0x0103))
  }

  @Test("fail with the errno of what failed")
  func errnos() throws {
    try tree.directory("directory")
    for (name, errno) in [("missing/file", ENOENT), ("directory", EISDIR)] {
      let step = BindStep.write(path: "\(tree.root)/\(name)", line: "x")
      #expect(throws: BindStepFailure(step: step, errno: errno)) { try step.perform() }
    }
    // A full device takes the open and refuses the write.
    let full = BindStep.write(path: "/dev/full", line: "x")
    #expect(throws: BindStepFailure(step: full, errno: ENOSPC)) { try full.perform() }
    let module = BindStep.loadModule("vblk_no_such_module")
    #expect(throws: BindStepFailure.self) { try module.perform() }
  }

  /// The children that this thread has made, ended ones too.
  private func children() throws -> String {
    String(
      decoding: try SystemRoots.bytes(at: "/proc/thread-self/children", atMost: 4096)
        ?? [], as: UTF8.self)
  }

  @Test("are given up where the kernel doesn't come back, and leave no child behind")
  func stuck() throws {
    let path = "\(tree.root)/fifo"
    let made = unsafe mkfifo(path, 0o600)
    #expect(made == 0)
    let before = try children()
    let step = BindStep.write(path: path, line: "x")
    #expect(throws: BindStepFailure(step: step, errno: ETIMEDOUT)) {
      try step.perform(millisecondsMax: 20)
    }
    // Nobody else would take the child: it would stay as long as this process.
    #expect(try children() == before)
  }
}
