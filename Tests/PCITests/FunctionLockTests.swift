import Foundation
import Synchronization
import Testing

@testable import PCI

@Suite("Binding: the lock of a function")
struct FunctionLockTests {
  private let tree: FakeTree

  init() throws { tree = try FakeTree.freeDiskBehindIOMMU() }

  private let lockFile = "run/vblk/0000:00:05.0.lock"

  @Test("is held by one at a time, and names its holder")
  func oneAtATime() throws {
    let lock = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    #expect(try tree.text(lockFile) == "\(getpid())\n")
    do throws(PCIError) {
      _ = try FunctionLock.take(FakeTree.address, roots: tree.roots)
      Issue.record("taken twice")
    } catch {
      #expect(error.code == .busy)
      #expect(error.cause.contains("0000:00:05.0 is held by process \(getpid())"))
    }
    lock.release()
    lock.release()
    #expect(try tree.text(lockFile).isEmpty)
    let next = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    #expect(next.processKilled == nil)
  }

  @Test("the holder is named by who has the file open, whatever stands in it")
  func holderByDescriptor() throws {
    let lock = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    try tree.process(4_242, name: "vblk", open: [tree.root + "/" + lockFile])
    do throws(PCIError) {
      _ = try FunctionLock.take(FakeTree.address, roots: tree.roots)
      Issue.record("taken twice")
    } catch {
      #expect(error.cause.contains("process 4242 (vblk)"))
    }
    lock.release()
  }

  @Test("other functions have other locks")
  func others() throws {
    let first = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    let second = try FunctionLock.take(
      PCIAddress(bus: 0, device: 6, function: 0), roots: tree.roots)
    first.release()
    second.release()
  }

  @Test("ends with a process that is killed, and says who it was")
  func killed() throws {
    let ready = "\(tree.root)/ready"
    try tree.directory("run/vblk")
    let path = "\(tree.root)/\(lockFile)"
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/flock")
    process.arguments = [
      "--no-fork", path, "sh", "-c", "echo $$ > '\(path)'; touch '\(ready)'; exec cat",
    ]
    process.standardInput = Pipe()
    try process.run()
    for _ in 0..<1_000 where !tree.exists("ready") { _ = poll(nil, 0, 10) }
    #expect(throws: PCIError.self) { try FunctionLock.take(FakeTree.address, roots: tree.roots) }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(
      FunctionLock.processKilled(FakeTree.address, roots: tree.roots)
        == Int(process.processIdentifier))
    let lock = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    #expect(lock.processKilled == Int(process.processIdentifier))
    lock.release(processKilled: lock.processKilled)
    let next = try FunctionLock.take(FakeTree.address, roots: tree.roots)
    #expect(next.processKilled == Int(process.processIdentifier))
    next.release()
  }

  @Test("a link in its place is not followed")
  func link() throws {
    try tree.write("elsewhere", "mine")
    try tree.link(lockFile, to: "\(tree.root)/elsewhere")
    #expect(throws: PCIError.self) { try FunctionLock.take(FakeTree.address, roots: tree.roots) }
    #expect(try tree.text("elsewhere") == "mine")
  }

  @Test("two binds race: the one that comes while a step is under way is refused, at each step")
  func race() throws {
    for step in 0..<3 {
      let tree = try FakeTree.freeDiskBehindIOMMU()
      let kernel = FakeKernel(tree)
      let request = BindRequest(FakeTree.address, overridesData: true)
      let second = Mutex<(count: Int, error: PCIError?)>((0, nil))
      let binder = Binder(roots: tree.roots) {
        [roots = tree.roots] (done) throws(BindStepFailure) in
        if second.withLock({ $0.count }) == step {
          do throws(PCIError) {
            _ = try Binder(roots: roots) { _ throws(BindStepFailure) in
              Issue.record("the second bind did something")
            }.bind(request)
          } catch {
            second.withLock { $0.error = error }
          }
        }
        second.withLock { $0.count += 1 }
        try kernel.perform(done)
      }
      _ = try binder.bind(request)
      let error = try #require(second.withLock { $0.error }, "step \(step)")
      #expect(error.code == .busy)
      #expect(error.cause.contains("held by process \(getpid())"))
      #expect(kernel.steps.count == 3)
    }
  }
}
