internal import ArgumentParser
internal import Glibc

/// The command line: parses, runs one command, turns every failure into one line and a code.
@main
struct Vblk: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vblk",
    abstract: "Drives virtio-blk devices from user space, polled.",
    discussion: """
      DEVICE is pci:0000:00:05.0, vhost-user:SOCKET, emu:64M (memory) or emu:FILE (a raw image); \
      options follow after commas, as in emu:64M,queues=4,event-idx=off.
      Exit codes: 0 done, 1 mismatch, 2 doctor found a failure, 64 usage, 66 image missing, \
      69 device unavailable, 73 refused, 74 I/O error, 75 busy, 77 permission, 130 interrupted.
      """,
    subcommands: [
      ListCommand.self, DoctorCommand.self, BindCommand.self, UnbindCommand.self, InfoCommand.self,
      ReadCommand.self, WriteCommand.self, CopyCommand.self,
      CompareCommand.self, ZeroCommand.self, DiscardCommand.self, FlushCommand.self,
      CacheCommand.self, LifetimeCommand.self, ZonesCommand.self, BenchCommand.self,
      EventsCommand.self, VerifyCommand.self, MatrixCommand.self, SimulateCommand.self,
    ])

  static func main() {
    Interrupt.catchSignals()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      Failure.end(with: error)
    }
  }
}
