import Glibc
import Testing

@testable import DMAPool

@Suite struct RegisteredMemoryTests {
  @Test("memory of any start and length is mapped by its enclosing pages, once a device")
  func enclosing() throws {
    let pages = try UserPages(4)
    for (range, count) in [(0..<1, 1), (4095..<4097, 2), (100..<12288, 3), (0..<16384, 4)] {
      let memory = try unsafe RegisteredMemory(pages.part(range))
      let devices = [MockMapper("a"), MockMapper("b")]
      for device in devices { try memory.attach(to: device) }
      let first = pages.address + UInt(range.lowerBound / 4096 * 4096)
      for device in devices {
        #expect(device.mappings.map(\.memory) == [first])
        #expect(device.mappings.map(\.byteCount) == [count * 4096])
      }
      #expect(devices[0].mappings == devices[1].mappings)
      #expect(memory.byteCount == range.count)
      #expect(memory.firstHole == nil)
      try memory.unregister()
      #expect(devices.allSatisfy { $0.mappings.isEmpty })
    }
  }

  @Test("slices are views of the memory, at the device's addresses, and may overlap")
  func slices() throws {
    let pages = try UserPages(3)
    let memory = try unsafe RegisteredMemory(pages.part(1000..<9000))
    let device = MockMapper()
    try memory.attach(to: device)
    var low = try memory.slice(0..<5000)
    let high = try memory.slice(4000..<8000)
    #expect(memory.slicesOut == 2)
    #expect(low.byteCount == 5000 && low.capacity == 5000)
    #expect(low.block.plainArena == memory.number)
    let base = unsafe UInt(bitPattern: high.block.base)
    #expect(base == pages.address + 5000)
    #expect(device.translate(high.block.deviceAddress) == base)
    low.fill(with: 0xAB)
    #expect(unsafe (pages.bytes[1000], pages.bytes[5999]) == (0xAB, 0xAB))
    #expect(unsafe (pages.bytes[999], pages.bytes[6000]) == (0x55, 0x55))
    let shared = try memory.slice(4000..<5000)
    #expect(shared.filling == 0xAB && high.filling == nil)
  }

  @Test("a slice that can't be is an error", arguments: [0..<0, -1..<1, 0..<8001, 8000..<8001])
  func impossibleSlice(range: Range<Int>) throws {
    let pages = try UserPages(2)
    let memory = try unsafe RegisteredMemory(pages.part(0..<8000))
    try memory.attach(to: MockMapper())
    let error = #expect(throws: DMAError.self) { _ = try memory.slice(range) }
    #expect(error?.code == .invalidArgument)
    #expect(memory.slicesOut == 0)
  }

  @Test("before the first attach there is nothing to slice")
  func beforeAttach() throws {
    let pages = try UserPages(1)
    let memory = try unsafe RegisteredMemory(pages.bytes)
    let error = #expect(throws: DMAError.self) { _ = try memory.slice(0..<1) }
    #expect(error?.code == .notAttached)
  }

  @Test("no memory, and memory that reaches beyond all addresses, are errors")
  func impossibleMemory() throws {
    let pages = try UserPages(1)
    let cases = unsafe [
      UnsafeMutableRawBufferPointer(start: nil, count: 0), pages.part(7..<7),
      UnsafeMutableRawBufferPointer(
        start: UnsafeMutableRawPointer(bitPattern: UInt.max - 100), count: 100),
    ]
    for index in 0..<3 {
      let error = #expect(throws: DMAError.self) {
        _ = try unsafe RegisteredMemory(cases[index])
      }
      #expect(error?.code == .invalidArgument)
    }
  }

  @Test("a hole is refused by its address, and nothing is locked")
  func holeRefused() throws {
    let pages = try UserPages(4, holes: [2])
    let error = #expect(throws: DMAError.self) {
      _ = try unsafe RegisteredMemory(pages.part(100..<16000))
    }
    #expect(error?.code == .notPinnable)
    #expect(error?.cause.hasPrefix("byte 8092 of the memory") == true)
    #expect(error?.cause.contains(hex(UInt64(pages.address + 8192))) == true)
    #expect(try !KernelView.flags(at: pages.address).contains("dc"))
  }

  @Test("a page that can't be written is a hole")
  func readOnlyPage() throws {
    let pages = try UserPages(3)
    #expect(unsafe mprotect(pages.bytes.baseAddress! + 4096, 4096, PROT_READ) == 0)
    let error = #expect(throws: DMAError.self) { _ = try unsafe RegisteredMemory(pages.bytes) }
    #expect(error?.code == .notPinnable)
    let memory = try unsafe RegisteredMemory(pages.bytes, holes: .allow)
    #expect(memory.firstHole == 4096)
  }

  @Test("allowed holes are not mapped, and no run covers them", arguments: 1..<15)
  func holesAllowed(bits: Int) throws {
    let holes = (0..<4).filter { bits >> $0 & 1 == 1 }
    let pages = try UserPages(4, holes: holes)
    let memory = try unsafe RegisteredMemory(pages.bytes, holes: .allow)
    #expect(memory.firstHole == holes[0] * 4096)
    let device = MockMapper()
    try memory.attach(to: device)
    let mapped = device.mappings.reduce(0) { $0 + $1.byteCount }
    #expect(mapped == (4 - holes.count) * 4096)
    let slice = try memory.slice(0..<16384)
    #expect(slice.block.plainArena == 0)
    for page in 0..<4 {
      let run = slice.block.run(at: page * 4096 + 5, limit: 16384)
      let end = holes.first { $0 > page } ?? 4
      #expect(run.byteCount == (holes.contains(page) ? 0 : (end - page) * 4096 - 5))
      guard run.byteCount > 0 else { continue }
      #expect(device.translate(run.deviceAddress) == pages.address + UInt(page * 4096 + 5))
    }
    for page in 0..<4 where !holes.contains(page) {
      let one = try memory.slice(page * 4096..<page * 4096 + 4096)
      #expect(one.block.plainArena == memory.number)
    }
  }

  @Test("a page that is not mapped at all is a hole")
  func unmapped() async {
    await #expect(processExitsWith: .success) {
      let pages = try UserPages(3)
      guard unsafe munmap(pages.bytes.baseAddress! + 4096, 4096) == 0 else { exit(3) }
      let error = #expect(throws: DMAError.self) { _ = try unsafe RegisteredMemory(pages.bytes) }
      #expect(error?.code == .notPinnable)
      #expect(error?.cause.hasPrefix("byte 4096 of the memory") == true)
      let memory = try unsafe RegisteredMemory(pages.bytes, holes: .allow)
      #expect(memory.firstHole == 4096)
      let device = MockMapper()
      try memory.attach(to: device)
      #expect(device.mappings.map(\.byteCount) == [4096, 4096])
    }
  }

  @Test("memory that is all hole is refused even where holes are allowed")
  func allHole() throws {
    let pages = try UserPages(1, holes: [0])
    let error = #expect(throws: DMAError.self) {
      _ = try unsafe RegisteredMemory(pages.bytes, holes: .allow)
    }
    #expect(error?.code == .notPinnable)
  }

  @Test("pages are locked and kept out of children while they are registered, and no longer")
  func locked() throws {
    let pages = try UserPages(2)
    let memory = try unsafe RegisteredMemory(pages.part(0..<4096))
    let flags = try KernelView.flags(at: pages.address)
    #expect(flags.contains("dc"))
    if KernelView.locks { #expect(flags.contains("lo") == memory.isLocked) }
    #expect(try !KernelView.flags(at: pages.address + 4096).contains("dc"))
    try memory.unregister()
    let after = try KernelView.flags(at: pages.address)
    #expect(!after.contains("dc") && !after.contains("lo"))
  }

  @Test("T67 shared-page: a page of two registrations stays locked until the last of them goes")
  func sharedPage() throws {
    let pages = try UserPages(3)
    let low = try unsafe RegisteredMemory(pages.part(0..<6000))
    do {
      let high = try unsafe RegisteredMemory(pages.part(6000..<12288))
      #expect(high.byteCount == 6288)
    }
    #expect(try KernelView.flags(at: pages.address + 4096).contains("dc"))
    #expect(try !KernelView.flags(at: pages.address + 8192).contains("dc"))
    try low.unregister()
    #expect(try !KernelView.flags(at: pages.address + 4096).contains("dc"))
  }

  @Test("T68 unregister-in-flight: while a slice is out, held or in flight, nothing is unmapped")
  func inUse() throws {
    let pages = try UserPages(2)
    let memory = try unsafe RegisteredMemory(pages.bytes)
    let device = MockMapper()
    try memory.attach(to: device)
    // In flight: the driver has only the record.
    let inFlight = unsafe try memory.slice(0..<512).intoBlock()
    for use in [{ try memory.unregister() }, { try memory.detach(from: device) }] {
      let error = #expect(throws: DMAError.self) { try use() }
      #expect(error?.code == .inUse)
      #expect(device.mappings.count == 1)
      #expect(try KernelView.flags(at: pages.address).contains("dc"))
    }
    _ = unsafe DMABuffer(block: inFlight)
    try memory.unregister()
    #expect(device.mappings.isEmpty)
  }

  @Test("after unregister everything is .closed, a second unregister too")
  func useAfterUnregister() throws {
    let pages = try UserPages(1)
    let memory = try unsafe RegisteredMemory(pages.bytes)
    let device = MockMapper()
    try memory.attach(to: device)
    try memory.unregister()
    let uses: [() throws -> Void] = [
      { try memory.unregister() }, { _ = try memory.slice(0..<1) },
      { try memory.attach(to: device) }, { try memory.detach(from: device) },
    ]
    for use in uses {
      let error = #expect(throws: DMAError.self) { try use() }
      #expect(error?.code == .closed)
    }
    #expect(device.mapCalls == 1 && device.unmapCalls == 1)
  }

  @Test("slices keep the registration alive; the last one ends it")
  func lifetime() throws {
    let pages = try UserPages(1)
    let device = MockMapper()
    do {
      let slice: DMABuffer
      do {
        let memory = try unsafe RegisteredMemory(pages.bytes)
        try memory.attach(to: device)
        slice = try memory.slice(0..<100)
      }
      #expect(device.mappings.count == 1)
      #expect(slice.filling == 0x55)
    }
    #expect(device.mappings.isEmpty)
    #expect(try !KernelView.flags(at: pages.address).contains("dc"))
  }

  @Test("a device that would not unmap keeps the pages locked when the registration dies")
  func quarantine() throws {
    let pages = try UserPages(1)
    let device = MockMapper()
    do {
      let memory = try unsafe RegisteredMemory(pages.bytes)
      try memory.attach(to: device)
      device.failUnmaps(0..<1)
    }
    #expect(device.mappings.count == 1)
    #expect(try KernelView.flags(at: pages.address).contains("dc"))
    // They are held for ever, so no other test may get these addresses.
    pages.leak()
  }

  @Test("4 KiB pages are refused for a device without IOMMU, with the reason")
  func physical() throws {
    let pages = try UserPages(2)
    let memory = try unsafe RegisteredMemory(pages.bytes)
    let device = MockMapper("bare", addressing: .physical)
    let error = #expect(throws: DMAError.self) { try memory.attach(to: device) }
    #expect(error?.code == .notPinnable)
    #expect(error?.cause.contains("not in huge pages") == true)
    #expect(device.mapCalls == 0)
    try memory.attach(to: MockMapper())
  }

  @Test("its number is of the arenas' row, and it says what it is")
  func description() throws {
    let pages = try UserPages(1)
    let arena = try DMAArena(byteCount: 1, pages: .small)
    let memory = try unsafe RegisteredMemory(pages.part(0..<100))
    #expect(memory.number > arena.number)
    #expect(
      memory.description == "registered memory \(memory.number): 100 bytes, "
        + (memory.isLocked ? "locked" : "not locked"))
  }

  @Test("pages that nobody holds can't be let go")
  func foreignPages() async {
    let result = await #expect(
      processExitsWith: .signal(trapSignal), observing: [\.standardErrorContent]
    ) {
      LockedPages().letGo([4096..<8192])
    }
    expectMessage(result, "nobody holds them")
  }

  @Test("a range less others leaves what none of them has")
  func subtraction() {
    let range: Range<UInt> = 10..<20
    #expect(range.subtracting([]) == [10..<20])
    #expect(range.subtracting([0..<10, 20..<30]) == [10..<20])
    #expect(range.subtracting([18..<30, 0..<12, 14..<16, 15..<17]) == [12..<14, 17..<18])
    #expect(range.subtracting([0..<30]).isEmpty)
  }
}
