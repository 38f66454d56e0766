internal import PCI
internal import VBlk

/// The checks of the machine and of this process: they need no device.
struct MachineChecks {
  private let roots: SystemRoots
  private let process: ProcessFacts

  /// Memory that a device locks as the command opens it: its buffers and its rings.
  static let lockedByteCount = OpenedDevice.memoryByteCount + (2 << 20)

  init(roots: SystemRoots) {
    self.roots = roots
    process = ProcessFacts(roots: roots)
  }

  var all: [Finding] { [lockedMemory, hugePages, modules, addressMode, processors] }

  /// D06.
  private var lockedMemory: Finding {
    let needed = UInt64(Self.lockedByteCount)
    let need = "need \(ByteSize.describe(needed)) locked"
    if process.has(.lockMemory) { return entries(need, "no limit (CAP_IPC_LOCK)") }
    guard let limit = process.lockedByteCountMax else { return entries(need, "no limit") }
    guard limit < needed else { return entries(need, "limit \(ByteSize.describe(limit))") }
    return Finding(
      .lockedMemory, .fail, "\(need), limit \(ByteSize.describe(limit))",
      remedy: "ulimit -l unlimited; /etc/security/limits.d: `USER - memlock unlimited`; systemd: "
        + "LimitMEMLOCK=infinity; docker: --ulimit memlock=-1")
  }

  /// D06 too: each 4 KiB page may take one of VFIO's entries.
  private func entries(_ need: String, _ limit: String) -> Finding {
    let path = "\(roots.sys)/module/vfio_iommu_type1/parameters/dma_entry_limit"
    let entries = (try? SystemRoots.word(at: path)).flatMap { Int($0) }
    guard let entries, entries < Self.lockedByteCount / 4_096 else {
      return Finding(.lockedMemory, .ok, "\(need), \(limit)")
    }
    return Finding(
      .lockedMemory, .warn,
      "\(need), \(limit); but VFIO's dma_entry_limit is \(entries) and 4 KiB pages may need "
        + "\(Self.lockedByteCount / 4_096)",
      remedy: "use huge pages (D08): 2 MiB take one entry")
  }

  /// D08, for the machine; each function's node has its own.
  private var hugePages: Finding {
    let pages = HugePages(roots: roots)
    guard let all = pages.onMachine else {
      return Finding(.hugePages, .skip, "this kernel has no 2 MiB pages")
    }
    return pages.finding(all, node: nil, isNeeded: false)
  }

  /// D12.
  private var modules: Finding {
    let modules = KernelModules(roots: roots)
    let states = UserDriver.allCases.map { ($0.rawValue, modules.driver($0.rawValue)) }
    let text = states.map { name, state in
      switch state {
      case .loaded: "\(name) is loaded"
      case .loadable: "\(name) can be loaded"
      case .missing: "no \(name)"
      }
    }.joined(separator: ", ")
    let missing = states.compactMap { name, state -> String? in
      if case .missing(let why) = state { why } else { nil }
    }
    if missing.count == states.count {
      return Finding(
        .modules, .fail,
        "this kernel (\(modules.release)) has no vfio-pci and no uio_pci_generic: "
          + missing[0], remedy: Self.kernelRemedy(modules.release))
    }
    if let mode = modules.lockdown {
      return Finding(
        .modules, .warn, "\(text); lockdown=\(mode) forbids UIO and no-IOMMU",
        remedy: "use vfio-pci behind an IOMMU, or turn Secure Boot off")
    }
    guard let why = missing.first else { return Finding(.modules, .ok, text) }
    return Finding(.modules, .warn, "\(text): \(why)", remedy: Self.kernelRemedy(modules.release))
  }

  static func kernelRemedy(_ release: String) -> String {
    "Debian: apt install linux-image-amd64; Ubuntu: apt install linux-modules-extra-\(release); "
      + "then boot that kernel"
  }

  /// D15: nothing to choose, so nothing to get wrong.
  private var addressMode: Finding {
    Finding(
      .addressMode, .ok,
      "no address mode to choose: IOVAs through VFIO, physical addresses through UIO and no-IOMMU")
  }

  /// D18, for the process; each function's node has its own.
  private var processors: Finding {
    guard let allowed = process.processors, !allowed.isEmpty else {
      return Finding(.processors, .skip, "could not tell which processors this process may use")
    }
    let quota = process.processorQuota
    let text =
      "this process may use \(allowed.count) processor\(allowed.count == 1 ? "" : "s")"
      + (quota.map { ", and its control group the time of \(Decimal.text($0, digits: 1))" } ?? "")
    guard min(Double(allowed.count), quota ?? .infinity) < 2 else {
      return Finding(.processors, .ok, text)
    }
    return Finding(
      .processors, .warn, "\(text): a poller that shares its processor halves throughput",
      remedy: "give the process two: taskset, cpuset; systemd: CPUQuota=200%; docker: --cpus 2")
  }
}
