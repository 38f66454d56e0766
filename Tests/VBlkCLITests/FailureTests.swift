import PCI
import Testing
import VBlk

@testable import VBlkCLI

@Suite("Failures")
struct FailureTests {
  @Test("are one line: what was given, what is allowed, what to do")
  func oneLine() {
    let failure = Failure(.usage, "a\nb", allowed: "allowed is c", remedy: "write d")
    #expect(failure.line == "vblk: a b: allowed is c; write d\n")
    #expect(Failure(.ioError, "a").line == "vblk: a\n")
  }

  @Test("exit codes are those of the design")
  func exitCodes() {
    #expect(ExitReason.allCases.map(\.rawValue) == [0, 1, 2, 64, 66, 69, 73, 74, 75, 77, 130])
  }

  @Test(
    "errors of the bus",
    arguments: [
      (PCIError.Code.notFound, 69), (.unsupported, 69), (.removed, 69), (.permission, 77),
      (.busy, 75), (.refused, 73), (.outOfRange, 64), (.system, 74),
    ] as [(PCIError.Code, Int32)])
  func busErrors(code: PCIError.Code, status: Int32) {
    let failure = Failure(PCIError(code, "cause", remedy: "remedy"))
    #expect(failure.status.rawValue == status)
    #expect(failure.line == "vblk: cause: remedy\n")
  }

  @Test("a bad device string is a usage error with all three parts")
  func addresses() {
    do throws(AddressError) {
      _ = try DeviceAddress("floppy:0")
      Issue.record("floppy:0 was taken")
    } catch {
      let failure = Failure(error)
      #expect(failure.status == .usage)
      #expect(failure.line.contains("\"floppy:0\" is no device: a device is pci:"))
    }
  }
}

@Suite("Ranges")
struct ByteRangeTests {
  private func range(
    _ offset: UInt64, _ length: UInt64?, _ capacity: UInt64
  ) throws(Failure) -> ByteRange {
    try ByteRange(offset: offset, length: length, capacity: capacity, device: "emu:1M")
  }

  @Test("no length is up to the end; the end itself is an empty range")
  func defaults() throws {
    #expect(try range(0, nil, 1_024).byteCount == 1_024)
    #expect(try range(1_000, nil, 1_024).byteCount == 24)
    #expect(try range(1_024, nil, 1_024).byteCount == 0)
  }

  @Test("beyond the end is refused, with the nearest that fits")
  func beyond() {
    #expect(failure { () throws(Failure) in try range(1_025, nil, 1_024) } == .usage)
    #expect(failure { () throws(Failure) in try range(1_000, 25, 1_024) } == .usage)
    #expect(failure { () throws(Failure) in try range(1, .max, 1_024) } == .usage)
    #expect(failure { () throws(Failure) in try range(.max, 1, 1_024) } == .usage)
  }

  @Test("what only works in blocks refuses less, and says what would do")
  func blocks() throws {
    let aligned = try range(4_096, 8_192, 1 << 20)
    #expect(try aligned.inWholeBlocks(of: 4_096, device: "d") == aligned)
    do throws(Failure) {
      _ = try range(4_000, 5_000, 1 << 20).inWholeBlocks(of: 512, device: "d")
      Issue.record("an unaligned range was taken")
    } catch {
      #expect(error.line.contains("--offset 3584 --length 5120"))
    }
  }

  private func failure(_ body: () throws(Failure) -> ByteRange) -> ExitReason? {
    do throws(Failure) {
      _ = try body()
      return nil
    } catch {
      return error.status
    }
  }
}
