import Foundation

@testable import PCI

/// A virtio-blk function without a kernel driver, as a tree of files: configuration space, a table
/// of BARs, and BAR 4 of 16 KiB.
struct FakeFunction {
  static let directory = FakeTree.function
  static let barByteCount = 16_384

  let tree: FakeTree

  init(vendor: String = "0x1af4", device: String = "0x1042") throws {
    tree = try FakeTree()
    try tree.write("\(Self.directory)/vendor", "\(vendor)\n")
    try tree.write("\(Self.directory)/device", "\(device)\n")
    try tree.write("\(Self.directory)/numa_node", "-1\n")
    try tree.write("\(Self.directory)/reset", "")
    var config = [UInt8](repeating: 0, count: 256)
    config[0] = 0xF4
    config[1] = 0x1A
    config[4] = 0x04
    try bytes("config", config)
    try tree.write(
      "\(Self.directory)/resource",
      """
      0x0000000000000000 0x0000000000000000 0x0000000000000000
      0x00000000febd4000 0x00000000febd4fff 0x0000000000040200
      0x000000000000c000 0x000000000000c07f 0x0000000000040101
      0x0000000000000000 0x0000000000000000 0x0000000000000000
      0x0000000700000000 0x0000000700003fff 0x000000000014220c
      0x0000000000000000 0x0000000000000000 0x0000000000000000
      0x00000000feb80000 0x00000000febbffff 0x0000000000046200

      """)
    try bytes("resource1", [UInt8](repeating: 0, count: 4096))
    try bytes("resource4", [UInt8](repeating: 0, count: Self.barByteCount))
  }

  func path(_ name: String) -> String { "\(tree.root)/\(Self.directory)/\(name)" }

  func bytes(_ name: String, _ bytes: [UInt8]) throws {
    try Data(bytes).write(to: URL(filePath: path(name)))
  }

  func contents(_ name: String) throws -> [UInt8] {
    try [UInt8](Data(contentsOf: URL(filePath: path(name))))
  }

  func facts() throws -> FunctionFacts {
    try FunctionFacts(FakeTree.address, roots: tree.roots)
  }

  func open() throws -> UIOFunction { try UIOFunction(try facts(), map: .file) }
}
