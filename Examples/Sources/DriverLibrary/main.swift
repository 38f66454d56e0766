// VBlkDriver and VBlkEmu as libraries: an emulated PCI function, driven as a real one would be.
import VBlkDriver
import VBlkEmu

var configuration = EmulatedDisk.Configuration(.memory(byteCount: 16 << 20))
configuration.serial = "example"
let disk = try EmulatedDisk(configuration)
let identity = try disk.function.identity
print(
  "function \(disk.function.name): \(String(identity.vendor, radix: 16)):"
    + String(identity.device, radix: 16))

let device = try Device(disk.function)
print("features: \(device.info.accepted.described.joined(separator: " "))")
var queue = try device.makeQueue()
print("serial: \(try queue.identify())")

var buffer = try device.memory.allocate(byteCount: 64 << 10)
_ = buffer.withUnsafeMutableBytes { $0.initializeMemory(as: UInt8.self, repeating: 7) }
try queue.write(at: 0, from: buffer)
print(
  "the device served \(disk.counters(queue: 0).requests) requests, "
    + "\(disk.counters(queue: 0).bytes) bytes, \(disk.dmaFaults.count) DMA faults")
