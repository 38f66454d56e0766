/// A fixed number of records at one address, cache-line aligned: what a queue keeps for each slot
/// or dio. The table's owner makes and frees it; everybody else has a copy of this handle, so that
/// `records[head].tag = tag` is a plain store through a pointer.
///
/// Invariants
/// 1. `base ..< base + count` holds `count` initialised elements until the owner calls ``free()``,
///    which it does once, when nobody uses a copy of the handle any more.
/// 2. An index is below `count`. Ours are by construction (free lists, loops over ``indices``); the
///    one that comes from outside, a used id, is compared with the queue's `headLimit` first. Only
///    debug builds check it here.
/// 3. One thread at a time, as the queue's rule is; atomics in an element are what others
///    may touch.
@safe
@frozen
@usableFromInline
struct Table<Element: ~Copyable> {
  @usableFromInline let base: UnsafeMutablePointer<Element>
  @usableFromInline let count: Int

  /// Makes the elements, in order of their indexes.
  init(count: Int, _ element: (UInt32) -> Element) {
    self.count = count
    unsafe base = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<Element>.stride * count, alignment: 64
    ).bindMemory(to: Element.self, capacity: count)
    for index in 0..<count { unsafe (base + index).initialize(to: element(UInt32(index))) }
  }

  /// For the owner: ends the elements and gives the memory back.
  func free() {
    unsafe base.deinitialize(count: count)
    unsafe base.deallocate()
  }

  var indices: Range<UInt32> { 0..<UInt32(count) }

  @inlinable
  subscript(index: Int) -> Element {
    @inline(__always) unsafeAddress {
      assert(index >= 0 && index < count, "index \(index) of a table of \(count)")
      return unsafe UnsafePointer(base + index)
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      assert(index >= 0 && index < count, "index \(index) of a table of \(count)")
      return unsafe base + index
    }
  }

  @inlinable
  subscript(index: UInt32) -> Element {
    @inline(__always) unsafeAddress {
      assert(index < count, "index \(index) of a table of \(count)")
      return unsafe UnsafePointer(base + Int(index))
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      assert(index < count, "index \(index) of a table of \(count)")
      return unsafe base + Int(index)
    }
  }
}
