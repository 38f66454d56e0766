internal import ArgumentParser
internal import VBlk

/// `vblk verify`: random writes of every kind, read back and compared.
struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Writes a device by random operations, reads it back and compares.",
    discussion: """
      The data on the device is lost. An emulated device is watched: a rule of the specification \
      that the driver breaks is a failure too.
      """)

  @Argument(help: "The device: emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Option(help: "Where random operations begin.")
  var seed: UInt64 = 1

  @Flag(help: "Lets it write to an image file or a PCI function. Its data is lost.")
  var allowDestructive = false

  func run() throws {
    let address = try DeviceAddress(device)
    if case .emulated(.memory) = address.place {
    } else if !allowDestructive {
      throw Failure(
        .refused, "verify would overwrite the data on \(device)",
        allowed: "allowed is a device in memory (emu:64M)",
        remedy: "add --allow-destructive if the data may be lost")
    }
    var run = try VerifyRun(device, seed: seed)
    if let mismatch = try run.run() { throw Failure(.mismatch, "\(device): \(mismatch)") }
    Terminal.line("\(device): all read back as written, seed \(seed)")
  }
}

/// `vblk matrix`: `verify` on many seeded combinations of features, rings, sizes and limits.
struct MatrixCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "matrix",
    abstract: "Verifies many random combinations of features, rings and limits.",
    shouldDisplay: false)

  @Option(help: "How many combinations.")
  var count: UInt64 = 50_000

  @Option(help: "The first combination's seed; the others follow.")
  var seed: UInt64 = 1

  func run() throws {
    var failures = 0
    for number in 0..<count {
      let combination = Combination(seed: seed &+ number)
      if let failure = combination.run() {
        failures += 1
        Terminal.line("matrix: \(failure); repeat: \(combination.reproduction)")
      }
      try Interrupt.check()
    }
    Terminal.line("matrix: \(count) combinations, \(failures) failures, seed \(seed)")
    if failures > 0 { throw Failure(.mismatch, "\(failures) combinations failed") }
  }
}
