import PCI
import Testing
import VBlk

@Suite("Device strings")
struct DeviceAddressTests {
  @Test("name their place")
  func places() throws {
    #expect(try DeviceAddress("emu:64M").place == .emulated(.memory(byteCount: 64 << 20)))
    #expect(try DeviceAddress("emu:8s").place == .emulated(.memory(byteCount: 4_096)))
    #expect(try DeviceAddress("emu:64").place == .emulated(.image(path: "64")))
    #expect(try DeviceAddress("emu:64M.img").place == .emulated(.image(path: "64M.img")))
    #expect(try DeviceAddress("emu:/a b/c.img").place == .emulated(.image(path: "/a b/c.img")))
    #expect(try DeviceAddress("emu:1G,null").place == .emulated(.null(byteCount: 1 << 30)))
    #expect(try DeviceAddress("vhost-user:/run/a:b").place == .vhostUser(path: "/run/a:b"))
    let address = PCIAddress(bus: 0, device: 5, function: 0)
    #expect(try DeviceAddress("pci:0000:00:05.0").place == .pci(address))
    #expect(try DeviceAddress("pci:00:05.0").place == .pci(address))
  }

  @Test("a doubled comma is a comma")
  func commas() throws {
    #expect(try DeviceAddress("emu:a,,b,read-only").place == .emulated(.image(path: "a,b")))
    #expect(try DeviceAddress("emu:1M,serial=x,,y").options.serial == "x,y")
  }

  @Test("carry every option")
  func options() throws {
    let options = try DeviceAddress(
      "emu:64M,queues=4,queue-size=256,blk-size=4k,seg-max=7,size-max=64k,read-only,serial=disk,"
        + "null,threaded,event-idx=off,indirect=off,flush=on"
    ).options
    var expected = AddressOptions()
    expected.queues = 4
    expected.queueSize = 256
    expected.blockByteCount = 4_096
    expected.segmentsMax = 7
    expected.segmentByteCountMax = 65_536
    expected.isReadOnly = true
    expected.serial = "disk"
    expected.isNull = true
    expected.isThreaded = true
    expected.featuresOff = [.eventIndex, .indirect]
    #expect(options == expected)
    #expect(try DeviceAddress("emu:64M").options == AddressOptions())
    #expect(try DeviceAddress("emu:64M,queue-size=7,packed").options.queueSize == 7)
  }

  @Test("every feature can be turned off by its name", arguments: AddressOptions.Feature.allCases)
  func features(feature: AddressOptions.Feature) throws {
    #expect(try DeviceAddress("emu:1M,\(feature.rawValue)=off").options.featuresOff == [feature])
    // The option of some is a number otherwise.
    if feature == .blockSize || feature == .segmentsMax { return }
    let on = try DeviceAddress("emu:1M,\(feature.rawValue)=on").options
    #expect(on.featuresOff == [])
    #expect(on.featuresOn == (feature.isOnRequest ? [feature] : []))
    if feature.isOnRequest {
      #expect(try DeviceAddress("emu:1M,\(feature.rawValue)").options == on)
    }
  }

  @Test(
    "say what was given, what is allowed and what to do",
    arguments: [
      ("", "is no device"), ("64M", "is no device"), ("floppy:0", "is no device"),
      ("emu:", "neither a size nor a file"), ("emu:0M", "whole sectors"),
      ("emu:99999999999T", "64 bits"), ("emu:16777216T", "64 bits"),
      ("emu:4611686018427387904s", "64 bits"), ("emu:a.img,null", "goes with a size"),
      ("pci:00:05", "no PCI address"), ("pci:0000:00:40.0", "no PCI address"),
      ("vhost-user:", "names no socket"),
      ("emu:1M,queue-size=0", "from 1 to 32768"), ("emu:1M,queue-size=65536", "from 1 to 32768"),
      ("emu:1M,queue-size=100", "power of two"), ("emu:1M,queues=0", "from 1 to 65535"),
      ("emu:1M,seg-max=0", "from 1 to"), ("emu:1M,seg-max", "write seg-max=N"),
      ("emu:1M,blk-size=100", "power of two"), ("emu:1M,serial=", "1 to 20"),
      ("emu:1M,serial=123456789012345678901", "1 to 20"), ("emu:1M,read-only=maybe", "on and off"),
      ("emu:1M,event-idx", "on and off"), ("emu:1M,colour=red", "is unknown"),
      ("emu:1M,flush=off,config-wce=on", "virtio 1.2, 5.2.3.1"),
      ("emu:1M,config-wce=on,flush=off", "void without FLUSH"),
      ("emu:1M,queues=1,queues=2", "twice"), ("pci:00:05.0,null", "for emu: devices only"),
      ("pci:00:05.0,event-idx=off", "for emu: devices only"), ("emu:1M,", "is unknown"),
    ])
  func refuses(text: String, part: String) {
    do throws(AddressError) {
      let address = try DeviceAddress(text)
      Issue.record("\(text) was taken as \(address)")
    } catch {
      #expect(error.description.contains(part), "\(error)")
      #expect(!error.cause.isEmpty && !error.allowed.isEmpty && !error.remedy.isEmpty)
      #expect(!error.description.contains("\n"))
    }
  }
}

@Suite("Sizes")
struct ByteSizeTests {
  @Test(
    "are read in powers of 1,024, in sectors or in bytes",
    arguments: [
      ("0", 0), ("4096", 4_096), ("4k", 4_096), ("4K", 4_096), ("4KiB", 4_096), ("1MiB", 1 << 20),
      ("8s", 4_096), ("64M", 64 << 20), ("2G", 2 << 30), ("1TiB", 1 << 40),
      ("18446744073709551615", .max), ("16777215T", 16_777_215 << 40),
    ] as [(String, UInt64)])
  func reads(text: String, byteCount: UInt64) throws {
    #expect(try ByteSize.parse(text) == byteCount)
  }

  @Test(
    "refuse what is none",
    arguments: [
      "", "k", "-1", "+1", "1.5k", "4kb", "4 k", "0x10", "4q", "٤k", "16777216T",
      "18446744073709551616",
    ])
  func refuses(text: String) {
    #expect(throws: AddressError.self) { try ByteSize.parse(text) }
  }

  @Test(
    "are shown short and exact, or with a digit after the point",
    arguments: [
      (0, "0 bytes"), (512, "512 bytes"), (1_024, "1 KiB"), (1_536, "1.5 KiB"),
      (1_023, "1023 bytes"),
      (256 << 30, "256 GiB"), (1_048_575, "1023.9 KiB"), (.max, "15.9 EiB"),
    ] as [(UInt64, String)])
  func shows(byteCount: UInt64, text: String) {
    #expect(ByteSize.describe(byteCount) == text)
  }
}
