import Foundation
import Testing

@testable import PCI
@testable import VBlkCLI

@Suite("Doctor: reports")
struct DoctorReportTests {
  private let report: DoctorReport = {
    var function = Finding(.inUse, .fail, "vdb is \"mounted\" at /data", remedy: "umount /data")
    function.device = "0000:00:05.0"
    return DoctorReport(
      kernel: "6.1.0",
      findings: [Finding(.lockedMemory, .ok, "fine"), function, Finding(.socket, .skip, "none")])
  }()

  @Test("text: the machine first, then each device, the remedy below what it's for")
  func text() {
    #expect(
      report.text == """
        this machine, kernel 6.1.0
          ok    D06  fine
          skip  D19  none
        0000:00:05.0
          fail  D11  vdb is "mounted" at /data
                     -> umount /data
        1 failed, 0 to note, 1 ok, 1 skipped

        """)
    #expect(report.failures == ["D11"])
  }

  @Test("JSON: a schema, every check, counts")
  func json() throws {
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any])
    #expect(object["schema"] as? String == "vblk.doctor/1")
    #expect(object["fail"] as? Int == 1)
    #expect(object["devices"] as? [String] == ["0000:00:05.0"])
    let checks = try #require(object["checks"] as? [[String: Any]])
    #expect(checks.map { $0["id"] as? String } == ["D06", "D11", "D19"])
    #expect(checks[0]["device"] is NSNull)
    #expect(checks[1]["remedy"] as? String == "umount /data")
  }

  @Test("this machine: what doctor says is what the system says")
  func live() throws {
    let run = try VblkProcess.run(["doctor", "--json"])
    let object = try #require(
      try JSONSerialization.jsonObject(with: run.output) as? [String: Any], "\(run.errors)")
    let checks = try #require(object["checks"] as? [[String: Any]])
    func status(_ id: String, _ device: String? = nil) -> String? {
      checks.first { $0["id"] as? String == id && $0["device"] as? String == device }?["status"]
        as? String
    }
    let failed = object["fail"] as? Int ?? -1
    #expect(run.status == (failed == 0 ? 0 : 2))
    #expect(run.errors.isEmpty == (failed == 0))
    var name = utsname()
    #expect(unsafe uname(&name) == 0)
    let release = unsafe withUnsafeBytes(of: &name.release) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    #expect(object["kernel"] as? String == release)

    func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
    let drivers = ["vfio-pci", "uio_pci_generic"].map { "/sys/bus/pci/drivers/\($0)" }
    if !drivers.contains(where: exists), !exists("/lib/modules/\(release)") {
      #expect(status("D12") == "fail")
    }
    let scanned = (try? PCIScan().functions()) ?? []
    #expect(object["devices"] as? [String] == scanned.map(\.identity.address.description))
    for function in scanned {
      let address = function.identity.address.description
      let directory = "/sys/bus/pci/devices/\(address)"
      if function.kernelDriver == "virtio-pci" {
        #expect(
          status("D01", address) == (exists("\(directory)/iommu_group") ? "ok" : "fail"),
          "\(address)")
        #expect(status("D10", address) == "warn")
        #expect((status("D11", address) == "fail") == (function.use != .free), "\(address)")
      }
      #expect(status("D16", address) == "ok")
      print(
        "\(address): D01 \(status("D01", address) ?? "-"), D11 \(status("D11", address) ?? "-")")
    }
  }
}
