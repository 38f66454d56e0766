/// One element of a ``Table``, or a value at an address of its own: what threads hand to each other
/// in place of the element itself, which can't be copied.
///
/// Invariants
/// 1. The element is initialised as long as anyone uses a copy of the handle: a table's as long as
///    the table lives, one made by ``init(_:)`` until ``take()``, called once.
/// 2. Who may touch which field, and when, is the element's own rule.
@safe
struct Place<Element: ~Copyable>: @unchecked Sendable {  // invariant 2
  private let pointer: UnsafeMutablePointer<Element>

  init(_ pointer: UnsafeMutablePointer<Element>) { unsafe self.pointer = pointer }

  /// Gives `element` an address of its own.
  init(moving element: consuming Element) {
    unsafe pointer = .allocate(capacity: 1)
    unsafe pointer.initialize(to: element)
  }

  /// The place whose address is `bits`; nil for 0.
  init?(bits: UInt) {
    guard let pointer = unsafe UnsafeMutablePointer<Element>(bitPattern: bits) else { return nil }
    unsafe self.pointer = pointer
  }

  var bits: UInt { unsafe UInt(bitPattern: pointer) }

  var value: Element {
    @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer) }
    @inline(__always) nonmutating unsafeMutableAddress { unsafe pointer }
  }

  /// Ends the place that ``init(moving:)`` made.
  func take() -> Element {
    let element = unsafe pointer.move()
    unsafe pointer.deallocate()
    return element
  }
}

extension Table where Element: ~Copyable {
  /// The place of element `index`.
  func place(_ index: UInt32) -> Place<Element> {
    precondition(index < count, "index \(index) of a table of \(count)")
    return unsafe Place(base + Int(index))
  }
}
