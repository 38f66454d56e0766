// swift-tools-version: 6.2
import PackageDescription

/// A package of its own, as a user's would be: it depends on VBlk by path.
let settings: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]
let frontDoor: Target.Dependency = .product(name: "VBlk", package: "vblk")

let package = Package(
  name: "Examples",
  dependencies: [.package(name: "vblk", path: "..")],
  targets: [
    .executableTarget(name: "ReadSector", dependencies: [frontDoor], swiftSettings: settings),
    .executableTarget(name: "WriteAndFlush", dependencies: [frontDoor], swiftSettings: settings),
    .executableTarget(name: "KeepFull", dependencies: [frontDoor], swiftSettings: settings),
    .executableTarget(name: "OwnPages", dependencies: [frontDoor], swiftSettings: settings),
    .executableTarget(
      name: "DriverLibrary",
      dependencies: [
        .product(name: "VBlkDriver", package: "vblk"), .product(name: "VBlkEmu", package: "vblk"),
      ], swiftSettings: settings),
  ]
)
