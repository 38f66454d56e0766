// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Benchmarks",
  dependencies: [.package(name: "vblk", path: "..")],
  targets: [
    .executableTarget(
      name: "Probe",
      dependencies: [
        .product(name: "VBlkDriver", package: "vblk"), .product(name: "VBlkEmu", package: "vblk"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),
    .executableTarget(
      name: "Soak",
      dependencies: [
        .product(name: "VBlkDriver", package: "vblk"), .product(name: "VBlkEmu", package: "vblk"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),
  ]
)
