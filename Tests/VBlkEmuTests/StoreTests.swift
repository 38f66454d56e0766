import Glibc
import Testing
import VBlkEmu
import Virtio

/// A directory that goes away with the test.
final class TemporaryDirectory {
  let path: String

  init() {
    var template = Array("/tmp/vblk-emu-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress, mkdtemp(base) != nil else {
        fatalError("no temporary directory")
      }
      return String(cString: base)
    }
  }

  deinit {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
        unlink("\(path)/\(name)")
      }
      closedir(directory)
    }
    rmdir(path)
  }

  /// Makes a file of `byteCount` zero bytes.
  func file(_ name: String, _ byteCount: Int, mode: mode_t = 0o600) -> String {
    let file = "\(path)/\(name)"
    let descriptor = open(file, O_CREAT | O_RDWR | O_TRUNC, mode)
    precondition(descriptor >= 0 && ftruncate(descriptor, off_t(byteCount)) == 0)
    close(descriptor)
    return file
  }
}

/// Blocks of 512 bytes that a file has on its disk.
private func allocatedBlocks(_ path: String) -> Int {
  var information = stat()
  return stat(path, &information) == 0 ? Int(information.st_blocks) : -1
}

@Suite("stores") struct StoreTests {
  let directory = TemporaryDirectory()

  func driver(_ path: String, _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in })
    throws -> MiniDriver
  {
    var configuration = EmulatedDisk.Configuration(.file(path: path))
    change(&configuration)
    let driver = try MiniDriver(configuration)
    driver.start(size: 128)
    return driver
  }

  func ranges(_ driver: MiniDriver, _ sector: UInt64, _ count: UInt32, _ flags: UInt32) -> Piece {
    let area = driver.allocate(16)
    driver.store(area, sector)
    driver.store(area + 8, count)
    driver.store(area + 12, flags)
    return .out(driver.address(area), 16)
  }

  @Test("a file is its size, and keeps what was written") func file() throws {
    let path = directory.file("disk.img", 1 << 20)
    let bytes = RequestTests.pattern(8192)
    do {
      let driver = try driver(path)
      #expect(driver.config(0, 4) == 2048)
      #expect(driver.write(bytes, sector: 2032) == 0)
      #expect(driver.perform(.flush)?.status == 0)
    }
    let driver = try driver(path)
    #expect(driver.read(sector: 2032, 8192) == bytes)
    #expect(driver.disk.storeErrors.count == 0)
  }

  @Test("a chain of many segments is one preadv and one pwritev") func vectored() throws {
    let driver = try driver(directory.file("disk.img", 1 << 20))
    let bytes = RequestTests.pattern(16 * 512)
    let areas = (0..<16).map { index in
      let address = driver.address(driver.allocate(1024, 512))
      driver.fill(address, Array(bytes[(index * 512)..<((index + 1) * 512)]))
      return address
    }
    #expect(driver.perform(.write, 5, areas.map { .out($0, 512) }, indirect: true)?.status == 0)
    #expect(driver.read(sector: 5, 16 * 512) == bytes)
    for area in areas { driver.fill(area, Array(repeating: 0, count: 512)) }
    #expect(driver.perform(.read, 5, areas.map { .into($0, 512) })?.status == 0)
    #expect(areas.flatMap { driver.bytes($0, 512) } == bytes)
  }

  @Test("more segments than one preadv takes") func manySegments() throws {
    let path = directory.file("disk.img", 1 << 20)
    var configuration = EmulatedDisk.Configuration(.file(path: path))
    configuration.queueSize = 2048
    let driver = try MiniDriver(configuration)
    driver.start(size: 2048)
    let count = 1100
    let bytes = RequestTests.pattern(count * 512)
    let area = driver.address(driver.allocate(count * 512, 512))
    driver.fill(area, bytes)
    let pieces = (0..<count).map { Piece.out(area + UInt64($0 * 512), 512) }
    #expect(driver.perform(.write, 0, pieces, indirect: true)?.status == 0)
    #expect(driver.read(sector: 0, count * 512) == bytes)
  }

  @Test("discard and write zeroes punch holes") func holes() throws {
    let path = directory.file("disk.img", 1 << 20)
    let driver = try driver(path)
    #expect(driver.write(RequestTests.pattern(256 << 10), sector: 0) == 0)
    #expect(driver.perform(.flush)?.status == 0)
    let full = allocatedBlocks(path)
    #expect(driver.perform(.discard, 0, [ranges(driver, 0, 256, 0)])?.status == 0)
    #expect(allocatedBlocks(path) < full)
    #expect(driver.read(sector: 0, 4096) == Array(repeating: 0, count: 4096))
    #expect(driver.perform(.writeZeroes, 0, [ranges(driver, 256, 3, 1)])?.status == 0)
    #expect(driver.perform(.writeZeroes, 0, [ranges(driver, 300, 5, 0)])?.status == 0)
    #expect(driver.read(sector: 300, 5 * 512) == Array(repeating: 0, count: 5 * 512))
    #expect(driver.read(sector: 305, 512) != Array(repeating: 0, count: 512))
  }

  @Test("a file that loses its end meanwhile is an I/O error") func truncatedMeanwhile() throws {
    let path = directory.file("disk.img", 1 << 20)
    let driver = try driver(path)
    #expect(truncate(path, 4096) == 0)
    #expect(driver.read(sector: 0, 512) != nil)
    #expect(driver.read(sector: 1024, 512) == nil)
    #expect(driver.disk.storeErrors.count == 1)
    #expect(driver.disk.storeErrors.lastErrno == EIO)
  }

  @Test(
    "a full disk under the file is an I/O error, kept for whoever asks",
    .enabled(if: geteuid() == 0))
  func fullDisk() throws {
    let mountPoint = directory.path
    guard mount("tmpfs", mountPoint, "tmpfs", 0, "size=256k") == 0 else { return }
    defer { umount2(mountPoint, CInt(MNT_DETACH)) }
    let driver = try driver(directory.file("disk.img", 1 << 20))
    let bytes = RequestTests.pattern(64 << 10)
    let statuses = (0..<8).map { driver.write(bytes, sector: UInt64($0 * 128)) }
    #expect(statuses.first == 0)
    #expect(statuses.last == 1)
    #expect(driver.disk.storeErrors.lastErrno == ENOSPC)
    #expect(driver.read(sector: 0, 512) == Array(bytes[..<512]))
  }

  @Test("row 106: write-through writes are durable when they complete, others are not")
  func writeThrough() throws {
    let driver = try driver(directory.file("disk.img", 1 << 20)) { $0.writeback = false }
    #expect(driver.config(BlockConfigLayout.writeback, 1) == 0)
    for count: UInt64 in 1...3 {
      #expect(driver.write(RequestTests.pattern(512), sector: 0) == 0)
      #expect(driver.disk.counters(queue: 0).flushes == count)
    }
    #expect(driver.read(sector: 0, 512) == RequestTests.pattern(512))
    driver.write(0x2000 + UInt64(BlockConfigLayout.writeback), 1, 1)
    #expect(driver.write(RequestTests.pattern(512), sector: 0) == 0)
    #expect(driver.disk.counters(queue: 0).flushes == 3)
    driver.rings = []
    driver.start(without: [.flush, .configWriteCache], size: 16)
    #expect(driver.write(RequestTests.pattern(512), sector: 0) == 0)
    #expect(driver.disk.counters(queue: 0).flushes == 4)
  }

  @Test("a larger capacity makes file and memory longer") func grow() throws {
    let path = directory.file("disk.img", 4096)
    for driver in [try driver(path), try MiniDriver(.init(.memory(byteCount: 4096)))] {
      if driver.rings.isEmpty { driver.start(size: 16) }
      #expect(driver.write(RequestTests.pattern(512), sector: 0) == 0)
      try driver.disk.setCapacity(sectors: 1 << 16)
      #expect(driver.write(RequestTests.pattern(512), sector: (1 << 16) - 1) == 0)
      #expect(driver.read(sector: 0, 512) == RequestTests.pattern(512))
      #expect(driver.read(sector: 100, 512) == Array(repeating: 0, count: 512))
      #expect(throws: EmulatorError.self) { try driver.disk.setCapacity(sectors: .max) }
      #expect(driver.disk.capacitySectors == 1 << 16)
    }
  }

  @Test("bad images: each a typed error that names the path") func badImages() {
    func refusal(_ path: String, _ change: (inout EmulatedDisk.Configuration) -> Void = { _ in })
      -> EmulatorError?
    {
      var configuration = EmulatedDisk.Configuration(.file(path: path))
      change(&configuration)
      do throws(EmulatorError) {
        _ = try EmulatedDisk(configuration)
        return nil
      } catch {
        return error
      }
    }
    let cases: [(String, EmulatorError.Code)] = [
      (directory.path + "/missing.img", .notFound),
      (directory.file("a", 0) + "/below", .notFound),
      (directory.path, .invalidImage),
      ("/dev/null", .invalidImage),
      (directory.file("empty.img", 0), .invalidImage),
      (directory.file("cut.img", 1000), .invalidImage),
    ]
    for (path, code) in cases {
      let error = refusal(path)
      #expect(error?.code == code)
      #expect(error?.cause.contains(path) == true)
      #expect(error?.remedy.isEmpty == false)
    }
    let odd = directory.file("odd.img", 1536)
    #expect(refusal(odd) == nil)
    #expect(refusal(odd) { $0.blockSize = 4096 }?.code == .invalidImage)
    #expect(refusal(directory.path) { $0.readOnly = true }?.code == .invalidImage)
  }

  @Test("an image without write permission opens read-only only", .enabled(if: geteuid() != 0))
  func permission() throws {
    let path = directory.file("ro.img", 4096, mode: 0o400)
    let error = #expect(throws: EmulatorError.self) {
      _ = try EmulatedDisk(.init(.file(path: path)))
    }
    #expect(error?.code == .permission)
    _ = try driver(path) { $0.readOnly = true }
  }

  @Test("configurations that no disk can have") func badConfigurations() {
    let changes: [(inout EmulatedDisk.Configuration) -> Void] = [
      { $0.queues = 0 }, { $0.queues = 65 }, { $0.queueSize = 0 }, { $0.queueSize = 65_536 },
      { $0.queueSize = 100 }, { $0.blockSize = 0 }, { $0.blockSize = 256 },
      { $0.blockSize = 1000 }, { $0.segMax = 0 }, { $0.serial = "twenty-one-characters" },
      { $0.interruptVectors = -1 }, { $0.interruptVectors = 2049 },
      { $0.maxDiscardSegments = 1 << 20 }, { $0.configByteCount = 4 },
      { $0.addressRanges = [] }, { $0.addressRanges = [0...(1 << 50) - 1] },
      { $0.contents = .memory(byteCount: 0) }, { $0.contents = .null(byteCount: 100) },
      { $0.contents = .memory(byteCount: 1 << 61) },
    ]
    for (index, change) in changes.enumerated() {
      var configuration = EmulatedDisk.Configuration(.memory(byteCount: 4096))
      change(&configuration)
      #expect(throws: EmulatorError.self, "change \(index)") {
        _ = try EmulatedDisk(configuration)
      }
    }
  }
}
