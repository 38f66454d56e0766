import CHostIO
import Foundation
import Glibc
import Testing

@testable import PCI

/// The interrupt line under UIO. A FIFO stands for the kernel's file: four bytes, a signal.
@Suite("UIO: the interrupt line")
struct UIOLineTests {
  private func function(irq: String = "16") throws -> FakeFunction {
    let fake = try FakeFunction()
    try fake.tree.write("\(FakeTree.function)/irq", "\(irq)\n")
    try fake.tree.write("\(FakeTree.function)/uio/uio3/name", "uio_pci_generic\n")
    try fake.tree.directory("dev")
    let status = unsafe mkfifo("\(fake.tree.root)/dev/uio3", 0o600)
    #expect(status == 0)
    return fake
  }

  /// The kernel's half: it counts a signal and masks the line.
  private func raise(_ fake: FakeFunction, _ function: UIOFunction) throws {
    try function.writeConfig(at: 4, width: 2, value: 0x0406)
    let file = unsafe open("\(fake.tree.root)/dev/uio3", O_RDWR | O_NONBLOCK)
    defer { close(file) }
    var count: UInt32 = 1
    let written = unsafe write(file, &count, 4)
    #expect(written == 4)
  }

  /// Signals within `milliseconds`.
  private func signals(_ descriptor: CInt, within milliseconds: CInt) -> UInt64 {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    var count: UInt64 = 0
    guard unsafe poll(&entry, 1, milliseconds) == 1, unsafe read(descriptor, &count, 8) == 8 else {
      return 0
    }
    return count
  }

  @Test("signals an eventfd, again after it is unmasked, and no more once disconnected")
  func signalled() throws {
    let fake = try function()
    let function = try fake.open()
    defer { function.close() }
    #expect(function.hasInterruptLine)
    // Masked by what came before it was connected.
    try function.writeConfig(at: 4, width: 2, value: 0x0406)
    let eventfd = chio_eventfd()
    defer { chio_close(eventfd) }
    try function.setInterruptLine(eventfd: eventfd)
    #expect(try function.readConfig(at: 4, width: 2) == 0x0006, "connected, it is unmasked")
    for round in 0..<3 {
      try raise(fake, function)
      #expect(signals(eventfd, within: 10_000) == 1, "round \(round)")
      #expect(try function.readConfig(at: 4, width: 2) == 0x0406, "masked until it is unmasked")
      function.unmaskInterruptLine()
      #expect(try function.readConfig(at: 4, width: 2) == 0x0006, "and DMA as it was")
    }
    try function.setInterruptLine(eventfd: nil)
    try raise(fake, function)
    #expect(signals(eventfd, within: 50) == 0)
  }

  @Test("closing the function ends the thread and the file, connected or not")
  func closed() throws {
    let fake = try function()
    let function = try fake.open()
    let eventfd = chio_eventfd()
    defer { chio_close(eventfd) }
    try function.setInterruptLine(eventfd: eventfd)
    let path = "\(fake.tree.root)/dev/uio3"
    #expect(openDescriptors(of: path) == 1)
    function.close()
    function.close()
    #expect(openDescriptors(of: path) == 0)
  }

  @Test("the kernel's file is open as long as the function, for it turns DMA off when it closes")
  func file() throws {
    let fake = try function(irq: "0")
    let function = try fake.open()
    #expect(!function.hasInterruptLine, "the kernel has no interrupt for it")
    #expect(openDescriptors(of: "\(fake.tree.root)/dev/uio3") == 1)
    function.close()
  }

  @Test("no kernel driver, or no interrupt: refused, and said what to do")
  func none() throws {
    let away = try ["0", "2147483648", "no number"].map { try function(irq: $0) }
    for fake in [try FakeFunction()] + away {
      let function = try fake.open()
      defer { function.close() }
      #expect(!function.hasInterruptLine)
      let error = #expect(throws: PCIError.self) {
        try function.setInterruptLine(eventfd: 0)
      }
      #expect(error?.code == .unsupported)
      #expect(error?.remedy.contains("poll it") == true)
      function.unmaskInterruptLine()
      #expect(try fake.contents("config")[5] == 0)
    }
  }

  private func openDescriptors(of path: String) -> Int {
    let all = (try? SystemRoots.names(in: "/proc/self/fd")) ?? []
    return all.count { (try? SystemRoots.linkTarget(at: "/proc/self/fd/\($0)")) == path }
  }
}
