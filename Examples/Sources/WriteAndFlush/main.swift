// Writes a line to a disk so that it survives a power cut, and reads it back.
import VBlk

let device = try Device.open("emu:64M")
var queue = try device.makeQueue()
let text = "written by VBlk\n"

// Any range will do: blocks that are only partly covered are read, changed and written back.
var buffer = try device.memory.allocate(byteCount: text.utf8.count)
buffer.withUnsafeMutableBytes { $0.copyBytes(from: text.utf8) }
try queue.write(at: 1000, from: buffer)
try queue.flush()

// The same in one operation: it ends only when the data is on stable media.
try queue.write(at: 1000, from: buffer, durable: true)

var back = try device.memory.allocate(byteCount: text.utf8.count)
try queue.read(at: 1000, into: &back)
let line = back.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
print("read back: \(line)", terminator: "")
guard line == text else { fatalError("the disk holds something else") }
