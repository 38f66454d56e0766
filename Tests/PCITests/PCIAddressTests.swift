import PCI
import Testing

@Suite("PCI addresses")
struct PCIAddressTests {
  @Test("are read with and without a domain, and written as the kernel does")
  func reads() {
    #expect(PCIAddress("0000:00:05.0")?.description == "0000:00:05.0")
    #expect(PCIAddress("00:1f.7")?.description == "0000:00:1f.7")
    #expect(PCIAddress("10000:E1:00.0")?.description == "10000:e1:00.0")
  }

  @Test(
    "refuse what is none",
    arguments: [
      "", "00", "00:05", "00:05.", "00:05.8", "00:20.0", "100:00.0", "000:00:05.0", "0000:00:05.0 ",
      "0000:00:05.0.0", "a:b:c:d.0", "00:-5.0", "00:+5.0", "0x00:05.0", "00:05.00",
    ])
  func refuses(text: String) {
    #expect(PCIAddress(text) == nil)
  }

  @Test("sort by domain, bus, device, function")
  func sorts() {
    let sorted = ["0000:00:02.0", "0000:00:02.1", "0000:01:00.0", "0001:00:00.0"]
    #expect(sorted.reversed().compactMap { PCIAddress($0) }.sorted().map(\.description) == sorted)
  }
}
