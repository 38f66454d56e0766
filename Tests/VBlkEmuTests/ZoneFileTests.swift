import Glibc
import Testing
import VBlkEmu
import Virtio

/// The zone file beside an image: written down, validated when it is read, one process at a time.
@Suite("zone file") struct ZoneFileTests {
  private final class Image {
    let path: String

    init() {
      var name = Array("/tmp/vblk-zones-XXXXXX".utf8CString)
      let descriptor = mkstemp(&name)
      precondition(descriptor >= 0 && ftruncate(descriptor, 64 * 512 * 8) == 0)
      close(descriptor)
      path = name.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    deinit {
      unlink(path)
      unlink(zones)
    }

    var zones: String { path + ".zones" }

    func configuration(
      _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
    ) -> EmulatedDisk.Configuration {
      var configuration = EmulatedDisk.Configuration(.file(path: path))
      configuration.zones = .hostManaged
      configuration.zones?.zoneSectors = 64
      edit(&configuration)
      return configuration
    }

    func driver(
      _ edit: (inout EmulatedDisk.Configuration) -> Void = { _ in }
    ) throws -> MiniDriver {
      let driver = try MiniDriver(configuration(edit))
      driver.start()
      return driver
    }

    var bytes: [UInt8] {
      get {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let descriptor = open(zones, O_RDONLY)
        defer { close(descriptor) }
        let count = read(descriptor, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, count)))
      }
      set {
        let descriptor = open(zones, O_WRONLY | O_TRUNC | O_CREAT, 0o644)
        defer { close(descriptor) }
        precondition(write(descriptor, newValue, newValue.count) == newValue.count)
      }
    }
  }

  @Test("every state and pointer is there when the disk is opened again")
  func reopened() throws {
    let image = Image()
    var before: [ZoneRequestTests.Shown] = []
    do {
      let driver = try image.driver()
      #expect(ZoneRequestTests.write(driver, 64, 5) == 0)
      #expect(ZoneRequestTests.append(driver, 128, 7)?.status == 0)
      #expect(driver.perform(.zoneOpen, 192)?.status == 0)
      #expect(ZoneRequestTests.write(driver, 256, 3) == 0)
      #expect(driver.perform(.zoneClose, 256)?.status == 0)
      #expect(driver.perform(.zoneFinish, 320)?.status == 0)
      try driver.disk.failZone(6, as: .readOnly)
      try driver.disk.failZone(7, as: .offline)
      before = ZoneRequestTests.report(driver)
    }
    let driver = try image.driver { $0.zones?.zoneSectors = nil }
    #expect(ZoneRequestTests.report(driver) == before)
    #expect(
      before.map(\.state) == [
        .empty, .implicitlyOpen, .implicitlyOpen, .explicitlyOpen, .closed, .full, .readOnly,
        .offline,
      ])
    #expect(ZoneRequestTests.write(driver, 69, 1) == 0)
  }

  @Test("each damaged byte is found, and the file left as it is")
  func damaged() throws {
    let image = Image()
    do { _ = try image.driver() }
    let good = image.bytes
    #expect(good.count == 64 + 8 * 32)
    for index in good.indices {
      var bad = good
      bad[index] ^= 0x40
      image.bytes = bad
      #expect(throws: EmulatorError.self, "byte \(index)") {
        _ = try EmulatedDisk(image.configuration())
      }
      #expect(image.bytes == bad)
    }
    for length in [0, 1, 63, 64, 65, good.count - 1] {
      image.bytes = Array(good.prefix(length))
      #expect(throws: EmulatorError.self, "\(length) bytes") {
        _ = try EmulatedDisk(image.configuration())
      }
    }
    image.bytes = good
    _ = try EmulatedDisk(image.configuration())
  }

  @Test("a file of other zones, or of a disk that is held, is refused by name")
  func refused() throws {
    let image = Image()
    let edits: [(inout EmulatedDisk.Configuration) -> Void] = [
      { $0.zones?.zoneSectors = 32 }, { $0.zones?.conventionalZones = 1 },
      { $0.zones?.capacitySectors = 32 }, { $0.zones?.model = .hostAware },
    ]
    do {
      let driver = try image.driver()
      #expect(driver.perform(.zoneOpen, 0)?.status == 0)
      #expect(driver.perform(.zoneOpen, 64)?.status == 0)
      for readOnly in [false, true] {
        #expect {
          _ = try EmulatedDisk(image.configuration { $0.readOnly = readOnly })
        } throws: {
          ($0 as? EmulatorError)?.code == .busy
        }
      }
    }
    for edit in edits {
      #expect {
        _ = try EmulatedDisk(image.configuration(edit))
      } throws: {
        ($0 as? EmulatorError)?.code == .invalidImage && "\($0)".contains(image.zones)
      }
    }
    #expect {
      _ = try EmulatedDisk(image.configuration { $0.zones?.maxOpenZones = 1 })
    } throws: {
      ($0 as? EmulatorError)?.code == .invalidArgument
    }
    let reader = try image.driver { $0.readOnly = true }
    #expect(ZoneRequestTests.report(reader)[0].state == .explicitlyOpen)
    let other = try image.driver { $0.readOnly = true }
    #expect(other.perform(.zoneClose, 0)?.status == 1, "read-only, and two may look")
  }

  @Test("zones that can't be are refused", arguments: [0, 1, 2, 3, 4, 5])
  func impossible(which: Int) throws {
    let image = Image()
    #expect {
      _ = try EmulatedDisk(
        image.configuration {
          switch which {
          case 0: $0.zones?.zoneSectors = 0
          case 1: $0.zones?.capacitySectors = 65
          case 2: $0.zones?.conventionalZones = 9
          case 3: $0.zones?.writeGranularity = 1000
          case 4:
            $0.zones?.maxOpenZones = 3
            $0.zones?.maxActiveZones = 2
          default:
            $0.zones?.writeGranularity = 4096
            $0.zones?.maxAppendSectors = 4
          }
        })
    } throws: {
      ($0 as? EmulatorError)?.code == .invalidArgument
    }
    #expect(access(image.zones, F_OK) != 0, "nothing was made")
  }
}
