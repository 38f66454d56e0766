// What rows of Tests/VM run in the guest: loads whose every operation is accounted for.
import Glibc
import VBlk

let words = CommandLine.arguments

func number(_ index: Int) -> UInt64 {
  guard words.count > index, let value = UInt64(words[index]) else {
    fail("word \(index) must be a number: \(words)")
  }
  return value
}

func opened(queues: Int, interrupts: Bool = false) throws -> (Device, any PCIFunction) {
  guard words.count > 2, let address = PCIAddress(words[2]) else {
    fail("usage: vm-guest fill|reset|wake|grow ADDRESS …")
  }
  var options = DeviceOptions()
  options.queues = queues
  options.depth = 32
  options.interrupts = interrupts
  options.memoryByteCount = 4 << 20
  let function = try FunctionAccess.open(address)
  return (try Device(function, options: options), function)
}

do {
  switch words.count > 1 ? words[1] : "" {
  case "fill":
    let queues = Int(number(6))
    let (device, _) = try opened(queues: queues)
    exit(
      Fill.run(
        device, seed: number(3), offset: number(4), length: number(5), queues: queues,
        passes: Int(number(7))))
  case "reset":
    let queues = Int(number(8))
    let (device, function) = try opened(queues: queues)
    exit(
      ResetUnderLoad.run(
        device, function, kind: words[3], count: Int(number(4)), seed: number(5),
        offset: number(6), length: number(7), queues: queues))
  case "wake":
    let (device, _) = try opened(queues: 1, interrupts: true)
    exit(try Wake.run(device, count: Int(number(3))))
  case "grow":
    let (device, _) = try opened(queues: 2)
    exit(try Grow.run(device, to: number(3), command: words[4]))
  case "as":
    exit(Unprivileged.run(number(2), locked: number(3), Array(words.dropFirst(4))))
  default:
    fail("known are fill, reset, wake, grow and as: \(words)")
  }
} catch {
  say("vm-guest: \(error)")
  exit(1)
}
