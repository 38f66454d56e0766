internal import ArgumentParser
internal import VBlk

/// `vblk bench`: fio's words, one polled queue a job.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures a device, in fio's words.")

  @Argument(help: "The device: emu:256M,null, emu:64M, emu:FILE, pci:ADDRESS, vhost-user:SOCKET.")
  var device: String

  @Option(help: "What to do: read, write, randread, randwrite, randrw.")
  var rw = BenchPattern.randread

  @Option(help: "Bytes of a request: 4k, 1MiB, 8s.", transform: RangeOptions.size)
  var bs: UInt64 = 4096

  @Option(help: "Requests in flight a job.")
  var iodepth = 32

  @Option(help: "How long: 10s, 500ms, 2m.", transform: RunTime.option)
  var runtime: UInt64 = 3_000_000_000

  @Option(help: "Threads, each with a queue of its own.")
  var numjobs = 1

  @Option(help: "Queues that the device sets up; at least numjobs, which is the default.")
  var queues: Int?

  @Option(
    help: "How to wait: busy (poll), adaptive (poll, then sleep), interrupt (sleep).",
    transform: WaitPolicy.option)
  var wait = WaitPolicy.busy

  @Option(help: "Where random offsets begin.")
  var seed: UInt64 = 1

  @Flag(help: "Write JSON (schema vblk.bench/1).")
  var json = false

  @Flag(help: "Lets a bench write to an image file or a PCI function. Its data is lost.")
  var allowDestructive = false

  func run() throws {
    try check()
    let queues = queues ?? numjobs
    let opened = try OpenedDevice(
      device, access: rw.writes ? .write : .read, queues: queues, depth: iodepth,
      memoryByteCount: max(OpenedDevice.memoryByteCount, numjobs * iodepth * (Int(bs) + 4096)),
      interrupts: wait.needsInterrupts)
    defer { opened.device.close() }
    let plan = try plan(for: opened)
    let device = opened.device
    let jobs = numjobs
    let measurements = try JobThreads.run(count: jobs) { number in
      var job = try BenchJob(plan, number: number, jobs: jobs, device: device)
      return try job.run(device)
    }
    let result = result(of: measurements, opened, queues: queues)
    Terminal.write(json ? BenchReport.json(result) : BenchReport.text(result), to: 1)
    try Interrupt.check()
  }

  /// What can be refused before the device is opened.
  private func check() throws {
    let address = try DeviceAddress(device)
    try Self.require((1...1 << 20).contains(iodepth), "--iodepth \(iodepth)", "1 to 1048576")
    try Self.require((1...1024).contains(numjobs), "--numjobs \(numjobs)", "1 to 1024")
    try Self.require((1...1 << 30).contains(bs), "--bs \(bs)", "1 byte to 1 GiB")
    try Self.require(runtime > 0, "--runtime 0", "more than nothing")
    if let queues {
      try Self.require(
        queues >= numjobs, "--queues \(queues)", "numjobs (\(numjobs)) or more: each job polls one")
    }
    let keepsData: Bool =
      switch address.place {
      case .emulated(.memory), .emulated(.null): false
      case .emulated(.image), .pci, .vhostUser: true
      }
    if rw.writes, keepsData, !allowDestructive {
      throw Failure(
        .refused, "--rw \(rw.rawValue) would overwrite the data on \(device)",
        allowed: "allowed are read and randread",
        remedy: "add --allow-destructive if the data may be lost")
    }
  }

  private func plan(for opened: OpenedDevice) throws -> BenchJob.Plan {
    let block = opened.blockByteCount
    let capacity = opened.capacity
    try Self.require(
      bs.isMultiple(of: block) && bs <= capacity, "--bs \(bs)",
      "multiples of the device's block (\(block)), up to its \(capacity) bytes")
    let depth = opened.device.info.depth
    try Self.require(
      iodepth <= depth, "--iodepth \(iodepth)", "1 to \(depth), what the device's queues hold")
    return BenchJob.Plan(
      pattern: rw, blockByteCount: Int(bs), depth: iodepth, runtimeNanoseconds: runtime,
      spanByteCount: capacity / bs * bs, seed: seed, wait: wait)
  }

  private func result(
    of measurements: [BenchJob.Measurement], _ opened: OpenedDevice, queues: Int
  ) -> BenchResult {
    var result = BenchResult(
      device: device, way: opened.way + (wait == .busy ? "" : ", \(wait.rawValue)"), pattern: rw,
      blockByteCount: Int(bs), depth: iodepth,
      jobs: numjobs, queues: queues, seed: seed, isDebugBuild: _isDebugAssertConfiguration())
    for measurement in measurements {
      result.reads.add(measurement.reads)
      result.writes.add(measurement.writes)
      result.runtimeNanoseconds = max(result.runtimeNanoseconds, measurement.runtimeNanoseconds)
      result.kicks += measurement.kicks
      result.suppressedKicks += measurement.suppressedKicks
      result.polls += measurement.polls
      result.emptyPolls += measurement.emptyPolls
    }
    return result
  }

  private static func require(_ good: Bool, _ given: String, _ allowed: String) throws(Failure) {
    guard good else {
      throw Failure(
        .usage, "\(given) can't be", allowed: "allowed is \(allowed)", remedy: "change it")
    }
  }
}

extension RunTime {
  /// Reads a duration on the command line.
  static let option: @Sendable (String) throws -> UInt64 = { text in
    guard let nanoseconds = nanoseconds(text) else {
      throw ValidationError("\"\(text)\" is no duration: allowed are \(grammar)")
    }
    return nanoseconds
  }
}

extension WaitPolicy {
  /// Reads a policy on the command line.
  fileprivate static let option: @Sendable (String) throws -> WaitPolicy = { text in
    guard let policy = WaitPolicy(rawValue: text) else {
      let names = allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("\"\(text)\" is no way to wait: allowed are \(names)")
    }
    return policy
  }
}
