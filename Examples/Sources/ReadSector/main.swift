// Reads the first sector of a disk. Usage: ReadSector [DEVICE]
import VBlk

let device = try Device.open(CommandLine.arguments.dropFirst().first ?? "emu:64M")
var queue = try device.makeQueue()
var buffer = try device.memory.allocate(byteCount: 512)

let count = try queue.read(at: 0, into: &buffer)

let zeroes = buffer.withUnsafeBytes { bytes in bytes.prefix { $0 == 0 }.count }
print("read \(count) bytes of \(device.info.capacityBytes); \(zeroes) leading zero bytes")
