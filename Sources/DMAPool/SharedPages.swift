/// Which pages an arena is made of.
public enum PageChoice: Sendable, Equatable {
  /// 2 MiB pages, or an error where the machine has no free ones.
  case huge
  /// 2 MiB pages where the machine has enough free ones, else 4 KiB pages.
  case hugeIfAvailable
  /// 4 KiB pages.
  case small
}

/// Pages of a memory file, mapped shared: present, near their node and, if allowed, locked.
///
/// Shared, so that a fork copies nothing on write: device, parent and child see the same pages.
/// Unmapped and closed when it dies.
@safe
struct SharedPages: ~Copyable {
  /// The first byte, aligned to 2 MiB whatever the page size.
  let start: UnsafeMutableRawPointer
  /// Bytes mapped.
  let byteCount: Int
  /// The memory file.
  let file: CInt
  /// Bytes of a page.
  let pageByteCount: Int
  /// Whether the pages can't be swapped out.
  let isLocked: Bool

  deinit {
    // Neither can fail but by our own mistake, and nobody is left to hear of it.
    try? unsafe HostMemory.unmap(start, byteCount: byteCount)
    try? HostMemory.close(file)
  }

  /// Leaves the pages where they are for the rest of the process: a device may still write them.
  consuming func abandon() { discard self }

  /// The NUMA node of the first page, as the kernel reports it.
  var kernelNode: Int? { unsafe NUMANode.holding(start) }

  /// Maps at least `byteCount` bytes.
  static func make(byteCount: Int, node: Int?, pages: PageChoice) throws(DMAError) -> SharedPages {
    if pages == .small { return try SharedPages(small: byteCount, node: node) }
    do throws(SystemError) {
      return try SharedPages(byteCount, node: node, pageByteCount: Limits.hugePageByteCount)
    } catch {
      if pages == .huge { throw noHugePages(byteCount, error) }
      return try SharedPages(small: byteCount, node: node)
    }
  }

  private init(small byteCount: Int, node: Int?) throws(DMAError) {
    // Populating more than there is would not fail: it would call the out-of-memory killer.
    if let available = MemoryInfo.availableByteCount(), byteCount > available {
      throw DMAError(
        .noMemory, "\(byteCount) bytes of DMA memory, but the machine has \(available) available",
        remedy: "ask for less")
    }
    do throws(SystemError) {
      self = try SharedPages(byteCount, node: node, pageByteCount: Limits.pageByteCount)
    } catch {
      throw DMAError(
        .noMemory, "no \(byteCount) bytes of DMA memory (\(error))",
        remedy: "ask for less, or see the limits of the process (ulimit -a, cgroup)")
    }
  }

  private init(_ byteCount: Int, node: Int?, pageByteCount: Int) throws(SystemError) {
    let count = roundedUp(byteCount, to: pageByteCount)
    let huge = pageByteCount == Limits.hugePageByteCount
    let file = try HostMemory.createFile(huge: huge)
    let start: UnsafeMutableRawPointer
    do throws(SystemError) {
      try HostMemory.resize(file, byteCount: count)
      // The kernel aligns huge pages by itself.
      if huge {
        unsafe start = try HostMemory.mapShared(file, byteCount: count, at: nil)
      } else {
        unsafe start = try SharedPages.mapAligned(file, byteCount: count)
      }
    } catch {
      try? HostMemory.close(file)
      throw error
    }
    do throws(SystemError) {
      if let node { try unsafe NUMANode.prefer(node, for: start, byteCount: count) }
      try unsafe HostMemory.populate(start, byteCount: count)
    } catch {
      try? unsafe HostMemory.unmap(start, byteCount: count)
      try? HostMemory.close(file)
      throw error
    }
    unsafe self.start = start
    self.byteCount = count
    self.file = file
    self.pageByteCount = pageByteCount
    // Huge pages are never swapped, so they need no lock, and no share of RLIMIT_MEMLOCK.
    isLocked = unsafe huge || (try? HostMemory.lock(start, byteCount: count)) != nil
  }

  /// Maps `file` at an address aligned to 2 MiB: reserves too much, keeps the aligned part.
  private static func mapAligned(
    _ file: CInt, byteCount: Int
  ) throws(SystemError) -> UnsafeMutableRawPointer {
    let slack = Limits.maximumAlignment
    let reserved = try unsafe HostMemory.reserve(byteCount: byteCount + slack)
    let address = Int(bitPattern: reserved)
    let head = roundedUp(address, to: slack) - address
    let start = unsafe reserved + head
    if head > 0 { try unsafe HostMemory.unmap(reserved, byteCount: head) }
    try unsafe HostMemory.unmap(start + byteCount, byteCount: slack - head)
    // Where this fails the kernel may have ended the reservation already, and another thread may
    // have mapped its own memory there: it is not ours to unmap.
    return try unsafe HostMemory.mapShared(file, byteCount: byteCount, at: start)
  }

  private static func noHugePages(_ byteCount: Int, _ error: SystemError) -> DMAError {
    let pages = roundedUp(byteCount, to: Limits.hugePageByteCount) / Limits.hugePageByteCount
    return DMAError(
      .noMemory, "\(pages) free huge pages of 2 MiB were asked for (\(error))",
      remedy: "run sysctl vm.nr_hugepages=N as root, with N at least \(pages) more than are in use")
  }
}
