internal import PCI
internal import VBlk

/// What `vblk doctor` says: every check, the sick ones with what to do.
struct DoctorReport {
  static let schema = "vblk.doctor/1"

  let kernel: String
  let findings: [Finding]

  func count(_ status: Finding.Status) -> Int { findings.count { $0.status == status } }

  /// The ids of the checks that failed, in order, each once.
  var failures: [String] {
    let failed = Set(findings.filter { $0.status == .fail }.map(\.id))
    return Finding.ID.allCases.filter(failed.contains).map(\.rawValue)
  }

  /// The devices, in the order of their findings.
  var devices: [String] {
    var seen: Set<String> = []
    return findings.compactMap(\.device).filter { seen.insert($0).inserted }
  }

  var text: String {
    var text = ""
    for device in [nil] + devices.map(Optional.some) {
      text += (device ?? "this machine, kernel \(kernel)") + "\n"
      for finding in findings where finding.device == device {
        let status = finding.status.rawValue
        let fill = String(repeating: " ", count: 4 - status.count)
        text += "  \(status)\(fill)  \(finding.id.rawValue)  \(finding.message)\n"
        if !finding.remedy.isEmpty { text += "             -> \(finding.remedy)\n" }
      }
    }
    let counts = [
      (Finding.Status.fail, "failed"), (.warn, "to note"), (.ok, "ok"), (.skip, "skipped"),
    ]
    return text + counts.map { "\(count($0.0)) \($0.1)" }.joined(separator: ", ") + "\n"
  }

  var json: String {
    JSONWriter.object { root in
      root.value("schema", Self.schema)
      root.value("kernel", kernel)
      root.array("devices") { list in for device in devices { list.value(nil, device) } }
      root.array("checks") { list in
        for finding in findings {
          list.object { item in
            item.value("id", finding.id.rawValue)
            item.value("device", finding.device)
            item.value("status", finding.status.rawValue)
            item.value("message", finding.message)
            item.value("remedy", finding.remedy)
          }
        }
      }
      for status in Finding.Status.allCases { root.value(status.rawValue, count(status)) }
    }
  }
}
