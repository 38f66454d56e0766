// swift-tools-version: 6.2
import PackageDescription

/// What the rows of Tests/VM run in the guest where the command alone can't show it.
let settings: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]

let package = Package(
  name: "VMGuest",
  dependencies: [.package(name: "vblk", path: "../../..")],
  targets: [
    .executableTarget(
      name: "VMGuest", dependencies: [.product(name: "VBlk", package: "vblk")],
      swiftSettings: settings)
  ]
)
