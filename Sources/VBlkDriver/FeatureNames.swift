internal import Virtio

extension DeviceInfo {
  /// The features that the device offers, by the specification's names.
  public var offeredNames: [String] { offered.described }

  /// The features that were agreed, by the specification's names.
  public var acceptedNames: [String] { accepted.described }
}
