// Reads a disk straight into memory of one's own: registered once, then no byte is copied.
import Glibc
import VBlk

let device = try Device.open("emu:64M")
var queue = try device.makeQueue()

let byteCount = 1 << 20
guard
  let memory = mmap(
    nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
  memory != MAP_FAILED
else { fatalError("no memory") }
let pages = UnsafeMutableRawBufferPointer(start: memory, count: byteCount)
memset(memory, 0xFF, byteCount)

let registered = try device.register(pages)

// Eight pages that lie apart, filled by one request.
var list = SegmentList(segmentCapacity: 8)
for page in 0..<8 {
  list.append(try registered.slice(page * 5 * 4096..<(page * 5 + 1) * 4096))
}
let count = try queue.read(at: 0, into: &list)
let filled = (0..<8).allSatisfy { pages[$0 * 5 * 4096] == 0 && pages[$0 * 5 * 4096 + 4096] == 0xFF }
print("\(count) bytes in place: \(filled); \(queue.statistics.bouncedBytes) bytes bounced")

while let buffer = list.removeLastBuffer() { _ = consume buffer }
try registered.unregister()
guard filled, queue.statistics.bouncedBytes == 0 else { fatalError("that was not zero-copy") }
