import Glibc
import Testing

@testable import DMAPool

@Suite(.serialized, .enabled(if: KernelView.showsFrames)) struct ForkTests {
  @Test("a page of the user's that is written while a child lives moves: the danger is real")
  func danger() throws {
    let pages = try UserPages(2)
    let before = try KernelView.frames(pages.address, pages: 2)
    let during = try Child.whileForked {
      for page in 0..<2 { unsafe pages.bytes[page * 4096] = 1 }
      return try KernelView.frames(pages.address, pages: 2)
    }
    #expect(during != before)
  }

  @Test("T66 dma_thread_diotest: registered pages keep their frames, written while a child lives")
  func registered() throws {
    let pages = try UserPages(4)
    let memory = try unsafe RegisteredMemory(pages.bytes)
    let before = try KernelView.frames(pages.address, pages: 4)
    #expect(!before.contains(0))
    let during = try Child.whileForked {
      for page in 0..<4 { unsafe pages.bytes[page * 4096] = 1 }
      return try KernelView.frames(pages.address, pages: 4)
    }
    #expect(during == before)
    #expect(try KernelView.frames(pages.address, pages: 4) == before)
    try memory.unregister()
  }

  @Test("a child has no access to registered pages, and has again once they are unregistered")
  func access() throws {
    let pages = try UserPages(2)
    let memory = try unsafe RegisteredMemory(pages.part(5000..<5001))
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    let pipe = ends[1]
    let readable = try Child.run {
      let start = unsafe UnsafeRawPointer(bitPattern: pages.address)!
      return unsafe (Child.canRead(start, through: pipe) ? 1 : 0)
        + (Child.canRead(start + 4096, through: pipe) ? 2 : 0)
    }
    #expect(readable == 1)
    try memory.unregister()
    let readableAfter = try Child.run {
      let start = unsafe UnsafeRawPointer(bitPattern: pages.address)!
      return unsafe Child.canRead(start + 4096, through: pipe) ? 1 : 0
    }
    #expect(readableAfter == 1)
  }

  @Test("an arena's pages keep their frames whether parent or child writes them")
  func arena() throws {
    let (arena, _) = try ArenaTests.attached(4 * 4096)
    var buffer = try arena.allocate(byteCount: 4 * 4096)
    let start = unsafe buffer.block.base
    let address = UInt(bitPattern: start)
    let before = try KernelView.frames(address, pages: 4)
    #expect(!before.contains(0))
    let during = try Child.whileForked {
      unsafe start.storeBytes(of: 1, as: UInt8.self)
      return try KernelView.frames(address, pages: 4)
    }
    #expect(during == before)
    let code = try Child.run {
      for page in 0..<4 {
        unsafe start.storeBytes(of: 9, toByteOffset: page * 4096, as: UInt8.self)
      }
      return 0
    }
    #expect(code == 0)
    #expect(try KernelView.frames(address, pages: 4) == before)
    buffer.byteCount = 1
    #expect(buffer.filling == 9)
  }
}
