internal import Glibc

/// How a BAR is mapped from sysfs.
enum BARMapping: Sendable {
  /// By libpciaccess, which reads this machine's sysfs and no other.
  case libpciaccess
  /// By the file resourceN itself, as libpciaccess does it; for a tree that is not this machine's.
  case file

  /// The way, in words.
  var way: String {
    switch self {
    case .libpciaccess: "mapped by libpciaccess"
    case .file: "mapped from resourceN"
    }
  }

  /// Maps a BAR of the function, shared, readable and writable.
  func map(
    _ bar: SysfsBARs.BAR, of facts: FunctionFacts
  ) throws(PCIError) -> UnsafeMutableRawPointer {
    let byteCount = Int(bar.byteCount)
    switch self {
    case .libpciaccess:
      return try unsafe PCIBus.map(facts.address, bar: bar.index, byteCount: byteCount)
    case .file:
      do throws(FailedCall) {
        let file = try HostFile("\(facts.directory)/resource\(bar.index)")
        let start = unsafe mmap(
          nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0)
        guard let start = unsafe start, unsafe start != MAP_FAILED else {
          throw FailedCall("mmap", file.path)
        }
        return unsafe start
      } catch {
        throw PCIError(.system, "\(error)", remedy: "see that the file is a BAR's")
      }
    }
  }
}

/// The BARs of a function as sysfs lists them in `resource`: a line each, first and last address
/// and flags.
struct SysfsBARs {
  struct BAR: Equatable, Sendable {
    let index: Int
    let byteCount: UInt64
    let isPorts: Bool
  }

  let facts: FunctionFacts
  let bars: [BAR]

  private static let ports: UInt64 = 0x100
  private static let memory: UInt64 = 0x200

  init(_ facts: FunctionFacts) throws(PCIError) {
    self.facts = facts
    let path = "\(facts.directory)/resource"
    let text: String?
    do throws(SystemRoots.ReadFailure) {
      text = try SystemRoots.text(at: path)
    } catch {
      throw PCIError(.system, error.description, remedy: "see that sysfs is readable")
    }
    bars = Self.bars(in: text ?? "")
    guard !bars.isEmpty else {
      throw PCIError(
        .unsupported, "\(path) lists no BAR", remedy: "the function decodes nothing; see lspci -v")
    }
  }

  /// The first six lines that have a size.
  static func bars(in text: String) -> [BAR] {
    text.split(separator: "\n").prefix(6).enumerated().compactMap { index, line in
      let numbers = line.split(separator: " ").compactMap { UInt64($0.dropFirst(2), radix: 16) }
      guard numbers.count == 3, numbers[1] > numbers[0], numbers[2] & (ports | memory) != 0
      else { return nil }
      return BAR(
        index: index, byteCount: numbers[1] - numbers[0] + 1, isPorts: numbers[2] & ports != 0)
    }
  }

  /// Maps the BARs of memory; ports are reached by the kernel's reads and writes of resourceN.
  func regions(_ mapping: BARMapping) throws(PCIError) -> [RegisterSpace.Region] {
    var regions = [RegisterSpace.Region](repeating: RegisterSpace.Region(), count: 6)
    for bar in bars {
      regions[bar.index].byteCount = bar.byteCount
      if bar.isPorts {
        let file = try? HostFile("\(facts.directory)/resource\(bar.index)")
        regions[bar.index].file = file.map { ($0, 0) }
        regions[bar.index].way = file == nil ? "not reached" : "ports, by sysfs"
        continue
      }
      let start = try unsafe mapping.map(bar, of: facts)
      regions[bar.index].areas = [
        try unsafe RegisterSpace.Area(offset: 0, byteCount: Int(bar.byteCount), start: start)
      ]
      regions[bar.index].way = mapping.way
    }
    return regions
  }
}
