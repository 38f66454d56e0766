// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target: mode 6, no warning, the upcoming features that are not yet on in mode 6.
let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableExperimentalFeature("Lifetimes"),
]
let strictSettings: [SwiftSetting] = swiftSettings + [.strictMemorySafety()]

/// glibc hides memfd_create, O_DIRECT and their like without it.
let cSettings: [CSetting] = [.define("_GNU_SOURCE")]

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")

let package = Package(
  name: "vblk",
  products: [
    .library(name: "VBlkDriver", targets: ["VBlkDriver"]),
    .library(name: "VBlkEmu", targets: ["VBlkEmu"]),
    .library(name: "VBlk", targets: ["VBlk"]),
    .executable(name: "vblk", targets: ["VBlkCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CPci", pkgConfig: "pciaccess", providers: [.apt(["libpciaccess-dev"])]),
    .systemLibrary(name: "CNuma", pkgConfig: "numa", providers: [.apt(["libnuma-dev"])]),
    .target(name: "CHostIO"),
    .target(name: "Virtio", swiftSettings: strictSettings),
    .target(
      name: "DMAPool", dependencies: ["CHostIO", "CNuma"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .target(
      name: "PCI", dependencies: ["CHostIO", "CPci", "DMAPool"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .target(
      name: "VBlkDriver", dependencies: ["Virtio", "CHostIO", "DMAPool", "PCI", logging],
      cSettings: cSettings, swiftSettings: strictSettings),
    .target(
      name: "VBlkEmu", dependencies: ["Virtio", "CHostIO", "DMAPool", "PCI", logging],
      cSettings: cSettings, swiftSettings: strictSettings),
    .target(
      name: "VBlk", dependencies: ["VBlkDriver", "VBlkEmu", "PCI", "DMAPool"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .target(
      name: "VBlkSim", dependencies: ["VBlkDriver", "VBlkEmu", "DMAPool", "Virtio"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .executableTarget(
      name: "VBlkCLI",
      dependencies: ["VBlk", "VBlkDriver", "VBlkEmu", "VBlkSim", "PCI", arguments, histogram],
      cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "PCITests", dependencies: ["PCI"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "VBlkCLITests", dependencies: ["VBlkCLI", "VBlk", "PCI", histogram],
      cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "HouseTests", cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "VirtioTests", dependencies: ["Virtio"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "DMAPoolTests", dependencies: ["DMAPool", "CHostIO"],
      cSettings: cSettings, swiftSettings: strictSettings),
    .testTarget(
      name: "VBlkEmuTests", dependencies: ["VBlkEmu", "Virtio", "CHostIO"],
      cSettings: cSettings, swiftSettings: swiftSettings),
    .testTarget(
      name: "VBlkSimTests", dependencies: ["VBlkSim"],
      cSettings: cSettings, swiftSettings: swiftSettings),
    .testTarget(
      name: "VBlkDriverTests", dependencies: ["VBlkDriver", "VBlkEmu", "Virtio", "CHostIO"],
      cSettings: cSettings, swiftSettings: swiftSettings),
  ]
)
