/// Physical addresses of pages that never move.
enum PhysicalPages {
  /// The physical address of each run of `memory`: huge pages by /proc/self/pagemap.
  ///
  /// - Parameters:
  ///   - memory: Present pages.
  ///   - runByteCount: Bytes of a run, at most a huge page.
  ///   - subject: Whose memory it is, for errors.
  /// - Returns: An address a run.
  /// - Throws: ``DMAError`` `.notPinnable` where pages may move, or their addresses are hidden.
  static func addresses(
    of memory: Range<UInt>, runByteCount: Int, subject: String
  ) throws(DMAError) -> [UInt64] {
    let isHuge: Bool
    let words: [UInt64]
    do throws(SystemError) {
      isHuge = try ProcessMap(detailed: true).isHuge(
        memory, byteCount: Limits.hugePageByteCount)
      words = isHuge ? try PageMap.words(of: memory) : []
    } catch {
      throw unreadable(subject, "\(error)")
    }
    guard isHuge else { throw notHuge(subject) }
    var result: [UInt64] = []
    for page in stride(from: 0, to: words.count, by: runByteCount / Limits.pageByteCount) {
      guard let address = PageMap.physicalAddress(words[page]) else {
        throw unreadable(subject, "page frame number 0")
      }
      result.append(address)
    }
    return result
  }

  private static func notHuge(_ subject: String) -> DMAError {
    DMAError(
      .notPinnable,
      "\(subject) is not in huge pages, and a device without IOMMU needs pages that never move",
      remedy: "use huge pages (sysctl vm.nr_hugepages=…), or a device behind an IOMMU")
  }

  private static func unreadable(_ subject: String, _ what: String) -> DMAError {
    DMAError(
      .notPinnable, "the physical addresses of \(subject) are not to be had (\(what))",
      remedy: "run as root: /proc/self/pagemap hides them from others")
  }
}

/// /proc/self/pagemap: a 64-bit word a 4 KiB page.
enum PageMap {
  /// The words of all pages of `memory`.
  static func words(of memory: Range<UInt>) throws(SystemError) -> [UInt64] {
    let file = try ProcFile.open("/proc/self/pagemap")
    defer { try? HostMemory.close(file) }
    let first = Int(memory.lowerBound) / Limits.pageByteCount
    let count = memory.count / Limits.pageByteCount
    return try ProcFile.words(of: file, from: first, count: count)
  }

  /// The physical address in a word, or nil where the page is absent or the kernel hides it.
  static func physicalAddress(_ word: UInt64) -> UInt64? {
    let isPresent = word >> 63 == 1
    let frame = word & (1 << 55 - 1)
    return isPresent && frame != 0 ? frame * UInt64(Limits.pageByteCount) : nil
  }
}
