/// One thing that binding does to the system. As text it is a line for a shell that does the same.
public enum BindStep: Sendable, Equatable, CustomStringConvertible {
  /// Loads a module of the kernel, and what it needs.
  case loadModule(String)
  /// Writes a line to a file of sysfs.
  case write(path: String, line: String)
  /// Stops the function's DMA: writes its command register (bytes 4-5 of configuration space)
  /// without the bus-master bit.
  case stopBusMaster(config: String, command: UInt16)

  /// The line that does the same, as `vblk bind --dry-run` prints it.
  public var description: String {
    switch self {
    case .loadModule(let name): return "modprobe \(name)"
    case .write(let path, let line): return "echo \(Self.quoted(line)) > \(path)"
    case .stopBusMaster(let config, let command):
      let bytes = Self.bytes(of: command).map { byte in
        let digits = String(byte, radix: 8)
        return "\\" + String(repeating: "0", count: 3 - digits.count) + digits
      }
      return "printf '\(bytes.joined())' | dd of=\(config) bs=2 seek=2 conv=notrunc"
    }
  }

  static func bytes(of word: UInt16) -> [UInt8] {
    [UInt8(truncatingIfNeeded: word), UInt8(truncatingIfNeeded: word >> 8)]
  }

  private static func quoted(_ line: String) -> String { line.isEmpty ? "''" : line }
}

/// A step that did not work: the step, and errno.
package struct BindStepFailure: Error, Equatable {
  package let step: BindStep
  package let errno: CInt

  package init(step: BindStep, errno: CInt) {
    self.step = step
    self.errno = errno
  }
}
