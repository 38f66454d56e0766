import CNuma
import Glibc

/// The machine's memory nodes, by libnuma.
package enum NUMANode {
  /// The node to use for a wish.
  ///
  /// - Parameter wish: A node, or nil or -1 (which the system reports for devices that are near no
  ///   node in particular) for any.
  /// - Returns: The node, or nil for any.
  /// - Throws: ``DMAError`` `.invalidArgument` where there is no such node.
  static func chosen(_ wish: Int?) throws(DMAError) -> Int? {
    guard let wish, wish != -1 else { return nil }
    guard isAvailable else {
      if wish == 0 { return nil }
      throw DMAError(
        .invalidArgument, "NUMA node \(wish) was asked for, but this machine has no NUMA",
        remedy: "ask for no node")
    }
    let last = Int(numa_max_node())
    guard wish >= 0, wish <= last, numa_node_size64(CInt(wish), nil) >= 0 else {
      throw DMAError(
        .invalidArgument, "there is no NUMA node \(wish); the highest one is \(last)",
        remedy: "numactl --hardware lists the nodes")
    }
    return wish
  }

  /// Whether the kernel knows about nodes; libnuma must not be used if not.
  private static let isAvailable = numa_available() >= 0

  /// Puts pages that are touched later on `node` if it has room, else near it: mbind(2),
  /// MPOL_PREFERRED. (MPOL_BIND would call the out-of-memory killer where a node is full.)
  static func prefer(
    _ node: Int, for start: UnsafeMutableRawPointer, byteCount: Int
  ) throws(SystemError) {
    let wordBits = UInt.bitWidth
    var mask = [UInt](repeating: 0, count: node / wordBits + 1)
    mask[node / wordBits] = 1 << UInt(node % wordBits)
    // The kernel takes one bit less than it is told.
    let bits = UInt(mask.count * wordBits + 1)
    _ = try HostCall.mbind.perform(retrying: false) {
      unsafe mask.withUnsafeBufferPointer { words in
        unsafe Int(
          mbind(start, UInt(byteCount), MPOL_PREFERRED, words.baseAddress, bits, 0))
      }
    }
  }

  /// The node of the page at `address`, as the kernel reports it: get_mempolicy(2); nil where it
  /// reports none.
  static func holding(_ address: UnsafeMutableRawPointer) -> Int? {
    var node: CInt = -1
    let flags = UInt32(MPOL_F_NODE | MPOL_F_ADDR)
    guard isAvailable, unsafe get_mempolicy(&node, nil, 0, address, flags) == 0 else { return nil }
    return node >= 0 ? Int(node) : nil
  }

  /// Lets the calling thread run on the processors of `node` only: sched_setaffinity(2).
  ///
  /// - Returns: Whether it does; not where there is no such node.
  package static func runThread(on node: Int) -> Bool {
    isAvailable && node >= 0 && node <= Int(numa_max_node()) && numa_run_on_node(CInt(node)) == 0
  }
}
