internal import PCI
internal import VBlk

/// A function as bind, unbind and doctor take it: `pci:00:05.0`, or the address alone.
enum FunctionArgument {
  static func address(_ text: String) throws(Failure) -> PCIAddress {
    if let address = PCIAddress(text) { return address }
    guard let device = try? DeviceAddress(text), case .pci(let address) = device.place else {
      throw Failure(
        .usage, "\"\(text)\" is no PCI function", allowed: "allowed is pci:0000:00:05.0 or 00:05.0",
        remedy: "see `vblk list`")
    }
    guard device.options == AddressOptions() else {
      throw Failure(
        .usage, "\"\(text)\" has options, and a function is bound whole",
        allowed: "allowed is pci:\(address)", remedy: "leave them out")
    }
    return address
  }
}
