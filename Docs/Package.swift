// swift-tools-version: 6.2
// The documentation plugin, apart from the root package: whoever uses VBlk need not fetch it.
import PackageDescription

let package = Package(
  name: "vblk-docs",
  dependencies: [
    .package(name: "vblk", path: ".."),
    .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.3"),
  ],
  targets: [
    .target(
      name: "DocsAnchor",
      dependencies: ["VBlk", "VBlkDriver", "VBlkEmu"].map { .product(name: $0, package: "vblk") })
  ]
)
