internal import ArgumentParser
internal import PCI
internal import VBlk

/// `vblk list`: every virtio-blk function of this machine, and what the kernel does with it.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Lists every virtio-blk function of this machine, in use or not. Changes nothing.")

  @Flag(name: [.short, .long], help: "All reasons why a disk is in use, ids and BARs.")
  var verbose = false

  @Flag(help: "Write JSON (schema vblk.list/1).")
  var json = false

  func run() throws {
    let functions = try PCIScan().functions().map { FunctionState($0, roots: SystemRoots()) }
    Terminal.write(
      json ? FunctionReport.json(functions) : FunctionReport.text(functions, isVerbose: verbose),
      to: 1)
  }
}
