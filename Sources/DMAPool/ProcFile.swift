import Glibc

/// Reads what the kernel tells about memory in /proc.
enum ProcFile {
  /// All bytes of `path`; open and read are retried: open(2), read(2).
  static func contents(of path: String) throws(SystemError) -> [UInt8] {
    let file = try open(path)
    defer { try? HostMemory.close(file) }
    var result: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = try HostCall.read.perform(retrying: true) {
        unsafe Glibc.read(file, &chunk, 65536)
      }
      if count == 0 { return result }
      result += chunk[..<count]
    }
  }

  /// Opens `path` for reading; retried: open(2).
  static func open(_ path: String) throws(SystemError) -> CInt {
    let result = try HostCall.open.perform(retrying: true) {
      Int(unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC))
    }
    return CInt(result)
  }

  /// The 64-bit words of an open file from word `index` on, as many as there are; retried (pread).
  static func words(of file: CInt, from index: Int, count: Int) throws(SystemError) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: count)
    let byteCount = try HostCall.pread.perform(retrying: true) {
      unsafe Glibc.pread(file, &words, count * 8, index * 8)
    }
    return Array(words[..<(byteCount / 8)])
  }
}

/// /proc/meminfo.
enum MemoryInfo {
  /// Bytes that can be had without swapping, or nil where the kernel does not say.
  static func availableByteCount() -> Int? {
    guard let text = try? ProcFile.contents(of: "/proc/meminfo") else { return nil }
    for line in text.split(separator: UInt8(ascii: "\n"))
    where line.starts(with: "MemAvailable:".utf8) {
      return line.decimalNumber.map { $0 * 1024 }
    }
    return nil
  }
}

extension Sequence<UInt8> {
  /// The first decimal number in the text.
  var decimalNumber: Int? {
    var value: Int?
    for byte in self {
      if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
        value = (value ?? 0) * 10 + Int(byte - UInt8(ascii: "0"))
      } else if value != nil {
        break
      }
    }
    return value
  }
}
