internal import PCI

/// What one check of the doctor came to.
struct Finding: Equatable {
  /// Which of the failures that users meet.
  enum ID: String, CaseIterable {
    case noIOMMUGroup = "D01"
    case groupNotViable = "D02"
    case noAccessPlatform = "D03"
    case held = "D04"
    case nodePermission = "D05"
    case lockedMemory = "D06"
    case addressRanges = "D07"
    case hugePages = "D08"
    case physicalAddresses = "D09"
    case kernelDriver = "D10"
    case inUse = "D11"
    case modules = "D12"
    case bindFailed = "D13"
    case legacyDevice = "D14"
    case addressMode = "D15"
    case deviceLost = "D16"
    case leftBehind = "D17"
    case processors = "D18"
    case socket = "D19"
    case alignment = "D20"
  }

  /// How it came out.
  enum Status: String, CaseIterable {
    /// As it should be.
    case ok
    /// Works, but not as well or as safely as it could; or one step is left to do.
    case warn
    /// Keeps a device from being driven.
    case fail
    /// Doesn't apply, or could not be told.
    case skip
  }

  let id: ID
  /// The function or socket; nil for the machine and this process.
  var device: String?
  let status: Status
  /// What was found, with the values seen.
  let message: String
  /// What to do about it; empty where there is nothing to do.
  let remedy: String

  init(_ id: ID, _ status: Status, _ message: String, remedy: String = "") {
    self.id = id
    self.status = status
    self.message = message
    self.remedy = remedy
  }

  /// A failure as bind would say it, without the id that stands before it here.
  init(_ id: ID, _ error: PCIError) {
    let suffix = " (\(id.rawValue))"
    let cause =
      error.cause.hasSuffix(suffix) ? error.cause.dropLast(suffix.count) : error.cause[...]
    self.init(id, .fail, String(cause), remedy: error.remedy)
  }
}
